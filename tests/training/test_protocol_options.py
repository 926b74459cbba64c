"""The options of the protocol beyond the paper's: what each of them does to the training."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import ClassLabel, Dataset, Features, Value
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import PreTrainedModel, SchedulerType, get_scheduler
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from composing import ask_for, compose
from sparsead.adapters.chosen import ChosenWeights
from sparsead.adapters.fusion import Fusion, FusionAdapter
from sparsead.assembly.build import build_adapter, insert_adapter
from sparsead.assembly.inputs import read_inputs
from sparsead.config.protocol import ProtocolSpec
from sparsead.config.schedules import SCHEDULES
from sparsead.errors import ConfigError
from sparsead.runs.staging import staged
from sparsead.train import train
from sparsead.training.arguments import training_arguments
from sparsead.training.history import epoch_ends
from sparsead.training.loss import balanced_weights, build_criterion
from sparsead.training.optimizer import find_rates
from sparsead.training.patience import AlreadyFinishedError, EarlyStopping, restore_best
from sparsead.training.resume import MASKS_FILE, PRECISION_FILE, open_checkpoint
from sparsead.training.trainer import SparseadTrainer, build_trainer
from sparsead.training.unpadded import unpad

FALLING = ("protocol.scheduler=warmup_stable_decay", "protocol.warmup=1")
SMALL = (
    *("backbone=tiny-bert", "task=demo_mrpc", "task.limit=40", "device=cpu", "precision=fp32"),
    *("protocol.epochs=2", "protocol.batch_size=8"),
)


def trainer_of(folder: Path, *overrides: str) -> SparseadTrainer:
    spec = compose(*SMALL, f"outputs={folder}", *overrides)
    read = read_inputs(spec)
    model = read.backbone.model(read.task.head, read.task.head_options, spec.seed)
    adapted = insert_adapter(spec, build_adapter(spec), model)
    tokenizer = read.backbone.tokenizer
    collator = unpad(model, read.task.collator(tokenizer), "fp32")
    parts = (model, read.data, tokenizer, read.task, collator, folder, "fp32", adapted.head)
    return build_trainer(spec, *parts)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with staged(tmp_path / "runs" / "one") as staging:
        for name in (MASKS_FILE, PRECISION_FILE):
            (staging / name).touch()
        yield staging


def rates_of(trainer: SparseadTrainer, steps: int) -> list[float]:
    """The learning rate of each step, from the schedule alone."""
    optimizer = trainer.create_optimizer()
    schedule = trainer.create_scheduler(steps, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_the_schedules_and_their_options_are_those_of_transformers() -> None:
    given = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch", "kwargs"}
    for name, options in SCHEDULES.items():
        function: Any = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]
        if name == "reduce_lr_on_plateau":
            function = ReduceLROnPlateau
        assert inspect.signature(function).parameters.keys() - given == options.keys(), name


@pytest.mark.slow
def test_a_schedule_and_its_warmup_in_steps(folder: Path) -> None:
    cosine = trainer_of(folder, "protocol.scheduler=cosine", "protocol.warmup=2")
    expected = [0, 0.5, *(0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8))]
    assert rates_of(cosine, 10) == pytest.approx([5e-4 * share for share in expected])
    constant = trainer_of(folder, "protocol.scheduler=constant", "protocol.warmup=0")
    assert rates_of(constant, 3) == [5e-4] * 3


def gradients(trainer: SparseadTrainer) -> dict[str, torch.Tensor]:
    """The gradients of the first step of a training, before they are clipped."""
    found: dict[str, torch.Tensor] = {}

    def keep(*_args: Any, **_kwargs: Any) -> None:
        model = trainer.model
        assert model is not None
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found.setdefault(name, parameter.grad.clone())

    trainer._clip_grad_norm = keep  # type: ignore[method-assign]
    trainer._get_grad_norm = lambda *_, **__: None  # type: ignore[method-assign]
    trainer.args.num_train_epochs = 1
    trainer.train()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "task",
    [
        ["task=demo_mrpc"],
        ["task=demo_squad"],
        ["task=demo_xsum", "backbone=tiny-bart"],
        ["task=demo_mrpc", "backbone=tiny-llama"],
    ],
)
def test_accumulated_gradients_are_those_of_the_whole_batch(folder: Path, task: list[str]) -> None:
    """Batches of 3, 3 and 2 of the same 8 examples, although they have unequal numbers of terms."""
    found = []
    for batches in (["protocol.batch_size=8"], ["protocol.batch_size=3"]):
        accumulated = ["protocol.gradient_accumulation=3"] if batches[0].endswith("3") else []
        words = [*task, "backbone.dropout=0", "task.limit=8", *batches, *accumulated]
        found.append(gradients(trainer_of(folder, *words)))
    whole, parts = found
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=2e-3, atol=2e-5, msg=name)


def protocol(**changes: Any) -> ProtocolSpec:
    usual: dict[str, Any] = {
        "epochs": 1,
        "learning_rate": 1e-3,
        "batch_size": 4,
        "eval_batch_size": 4,
        "weight_decay": 0.0,
        "betas": [0.9, 0.98],
        "warmup": 0.1,
        "max_grad_norm": 1.0,
        "selection": 0.0,
    }
    return ProtocolSpec(**usual | changes)


@pytest.mark.parametrize(
    ("scheduler", "options", "message"),
    [
        ("warmup_stable_decay", {}, "scheduler=warmup_stable_decay: needs the number of steps in"),
        ("linear", {"cycles": 2}, "scheduler_options.cycles: protocol.scheduler=linear takes no"),
        ("cosine", {"cycles": 2}, r"scheduler_options.cycles: .* did you mean .*num_cycles\?"),
        ("cosine", {"num_cycles": "two"}, "scheduler_options.num_cycles=two: must be a number"),
        ("polynomial", {"lr_end": 0.1}, "lr_end=0.1: must be below protocol.learning_rate=0.001"),
        ("cosine_with_min_lr", {}, "cosine_with_min_lr: needs the rate at which it ends"),
        ("reduce_lr_on_plateau", {"mode": "mx"}, "mode=mx: no such choice; did you mean max"),
    ],
)
def test_a_schedule_that_cannot_be_made_is_refused(
    scheduler: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        protocol(scheduler=scheduler, scheduler_options=options, warmup=0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_can_be_made(name: str) -> None:
    needed: dict[str, Any] = {
        "warmup_stable_decay": {"num_decay_steps": 3},
        "cosine_with_min_lr": {"min_lr": 1e-5},
    }
    needed["cosine_warmup_with_min_lr"] = {"min_lr_rate": 0.1}
    options = needed.get(name, {})
    protocol(scheduler=name, scheduler_options=options, warmup=0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    get_scheduler(name, optimizer, 0, 10, options)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = [0] * 7 + [1] * 2 + [2]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights(labels, 3).tolist() == pytest.approx(expected.tolist())
    assert balanced_weights([0, 0, 2], 3)[1] == 0


def test_a_smoothed_and_weighted_loss_is_the_formula() -> None:
    labels = [0] * 6 + [1] * 2
    classes = Features({"labels": ClassLabel(names=["a", "b"])})
    rows = Dataset.from_dict({"labels": labels}, features=classes)
    logits = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    of_labels = torch.tensor(labels)
    log_p = F.log_softmax(logits, -1)
    smoothed = build_criterion(protocol(label_smoothing=0.2), rows, 2)
    assert smoothed is not None
    target = F.one_hot(of_labels, 2) * 0.8 + 0.1
    torch.testing.assert_close(smoothed(logits, of_labels), -(target * log_p).sum(-1).mean())
    weighted = build_criterion(protocol(class_weights="balanced"), rows, 2)
    assert weighted is not None
    weights = torch.tensor([8 / (2 * 6), 8 / (2 * 2)])[of_labels]
    own = -(weights * log_p[range(8), labels]).mean()
    torch.testing.assert_close(weighted(logits, of_labels), own)
    assert build_criterion(protocol(), rows, 2) is None


def test_numbers_have_no_smoothed_loss() -> None:
    rows = Dataset.from_dict({"labels": [0.5]}, features=Features({"labels": Value("float32")}))
    with pytest.raises(ConfigError, match=r"label_smoothing=0\.1: the labels of this task are not"):
        build_criterion(protocol(label_smoothing=0.1), rows, 1)


def rates_by_name(trainer: SparseadTrainer) -> dict[str, float]:
    """The highest learning rate of each parameter, from the optimiser."""
    optimizer = trainer.create_optimizer()
    assert trainer.model is not None
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    return {names[id(p)]: g["lr"] for g in optimizer.param_groups for p in g["params"]}


@pytest.mark.slow
def test_head_and_layers_have_rates_of_their_own(folder: Path) -> None:
    words = ["protocol.head_learning_rate=1e-2", "protocol.layer_decay=0.5"]
    trainer = trainer_of(folder, *words)
    rates = rates_by_name(trainer)
    assert trainer.model is not None
    training = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert rates.keys() == training
    for name, rate in rates.items():
        expected = 2.5e-4 if ".0." in name else 5e-4 if ".1." in name else 1e-2
        assert rate == pytest.approx(expected), name


@pytest.mark.slow
def test_layers_of_the_rate_end_below_what_is_above_them(folder: Path) -> None:
    """The final norm of a decoder is above its layers, its embeddings are below them."""
    words = ["backbone=tiny-gpt2", "adapter=full", "sparsity=dense", "protocol.layer_decay=0.5"]
    rates = rates_by_name(trainer_of(folder, *words, "protocol.learning_rate=8e-4"))
    found = {name.removeprefix("transformer."): rate for name, rate in rates.items()}
    assert found["ln_f.weight"] == found["h.1.ln_1.weight"] == pytest.approx(8e-4)
    assert found["h.0.ln_1.weight"] == pytest.approx(4e-4)
    assert found["wte.weight"] == found["wpe.weight"] == pytest.approx(2e-4)


def test_embeddings_behind_the_layers_are_below_them() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(2, 2, bias=False) for _ in range(2)])
            self.layernorm_embedding = nn.LayerNorm(2)
            self.layer_norm = nn.LayerNorm(2)

    model = nn.ModuleDict({"encoder": Stack(), "decoder": Stack()})
    protocol = replace(compose(*SMALL).protocol, learning_rate=0.8, layer_decay=0.5)
    rates = find_rates(protocol, model, head=())
    for stack in ("encoder", "decoder"):
        assert rates[f"{stack}.layernorm_embedding.weight"] == 0.2
        assert rates[f"{stack}.layers.0.weight"] == 0.4
        assert rates[f"{stack}.layers.1.weight"] == rates[f"{stack}.layer_norm.weight"] == 0.8


def test_stacks_of_different_height_have_no_layer_decay() -> None:
    heights = {"encoder": 3, "decoder": 2}
    stacks = {
        name: nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2) for _ in range(height)])})
        for name, height in heights.items()
    }
    model = nn.ModuleDict(stacks)
    protocol = compose(*SMALL).protocol
    message = r"layer_decay=0.5: 3 of encoder.layers and 2 of decoder.layers train"
    with pytest.raises(ConfigError, match=message):
        find_rates(replace(protocol, layer_decay=0.5), model, head=())
    rates = find_rates(protocol, model, head=())
    assert set(rates.values()) == {protocol.learning_rate}


def test_no_bias_has_weight_decay_also_where_some_of_them_are_chosen(folder: Path) -> None:
    trainer = trainer_of(folder, "adapter=bitfit", "adapter.budget=0.5", "pruner=random")
    model = trainer.model
    assert isinstance(model, nn.Module)
    layer = model.get_submodule("bert.encoder.layer.0.output.dense")
    for kind in ("bias", "weight"):
        layer.add_module(kind[0], ChosenWeights(layer, kind, torch.tensor([1]), as_bits=False))
    decayed = trainer.get_decay_parameter_names(model)
    place = "bert.encoder.layer.0.output.dense"
    assert f"{place}.w.values" in decayed
    assert f"{place}.b.values" not in decayed
    assert f"{place}.bias" not in decayed


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["bert", "bart", "t5", "gpt2"])
@pytest.mark.parametrize("adapter", ["houlsby", "pfeiffer", "parallel"])
def test_an_adapters_matrices_have_weight_decay_wherever_it_is_attached(
    folder: Path, backbone: str, adapter: str
) -> None:
    words = [f"adapter={adapter}", "adapter.bottleneck=4", "adapter.layer_norm=before"]
    trainer = trainer_of(folder, f"backbone=tiny-{backbone}", *words)
    model = cast(nn.Module, trainer.model)
    decayed = set(trainer.get_decay_parameter_names(model))
    of_adapter = {name: value for name, value in model.named_parameters() if ".adapter." in name}
    matrices = {name for name, value in of_adapter.items() if value.ndim == 2}
    assert matrices
    assert of_adapter.keys() & decayed == matrices
    kept = {name for name in decayed if name.endswith("bias") or "orm.weight" in name}
    assert not kept


def test_a_fusion_has_weight_decay(folder: Path) -> None:
    options = {"adapters": [{"bottleneck": 4}], "prune": "qk"}
    trainer = trainer_of(folder, "adapter=full", "sparsity=dense")
    model = cast(PreTrainedModel, trainer.model)
    FusionAdapter(fusion=options).insert(model, seed=1)
    decayed = set(trainer.get_decay_parameter_names(model))
    parts = [f"output.LayerNorm.adapter.{part}.weight" for part in ("query", "key", "value")]
    assert all(f"bert.encoder.layer.0.{part}" in decayed for part in parts)
    assert not any(name.endswith("adapter.query.bias") for name in decayed)


@pytest.mark.slow
def test_label_smoothing_leaves_the_regulariser_of_a_fusion_in_the_loss(folder: Path) -> None:
    options = {"adapters": [{"bottleneck": 4, "scale": 0.5}]}
    losses = []
    for smoothing in ("0", "1e-9"):
        words = ["backbone.dropout=0", f"protocol.label_smoothing={smoothing}", "adapter=full"]
        trainer = trainer_of(folder, *words, "sparsity=dense")
        model = cast(PreTrainedModel, trainer.model)
        FusionAdapter(fusion=options).insert(model, seed=1)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, Fusion):
                    module.value.weight.add_(0.1)
        batch = next(iter(trainer.get_train_dataloader()))
        losses.append(trainer.compute_loss(model.train(), batch))
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adapter=head", "sparsity=dense", "protocol.layer_decay=0.9"], "no parameter of a layer"),
        (
            ["adapter=head", "sparsity=dense", "protocol.head_learning_rate=1e-3"],
            "the head alone trains here: set protocol.learning_rate",
        ),
        (
            ["protocol.max_steps=11"],
            "there are only 10 steps in 2 epochs; leave it out, or choose protocol",
        ),
        (["protocol.warmup=10"], r"protocol\.warmup=10: the training has only 10 steps"),
        (["protocol.scheduler=polynomial", "protocol.max_steps=1"], "the warm-up takes all steps"),
        ([*FALLING, "+protocol.scheduler_options.num_decay_steps=10"], "has only 9 steps after"),
        (
            [
                *(*FALLING, "+protocol.scheduler_options.num_decay_steps=2"),
                "+protocol.scheduler_options.num_stable_steps=8",
            ],
            "num_stable_steps=8: with num_decay_steps=2 it takes more than the 9 steps",
        ),
        (["protocol.gradient_accumulation=6"], "the number of batches in an epoch, 5; give"),
    ],
)
def test_what_only_the_model_or_the_data_refuse(
    folder: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer_of(folder, *overrides)


@pytest.mark.parametrize(("words", "trains"), [("", False), ("protocol.warmup=0", True)])
def test_a_warm_up_that_leaves_nothing_to_train_is_said(
    folder: Path, words: str, trains: bool, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = trainer_of(folder, "protocol.max_steps=1", *words.split())
    assert isinstance(trainer.model, nn.Module)
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    trainer.train()
    after = list(trainer.model.parameters())
    changed = not all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert changed is trains
    said = "gives the only step a learning rate of 0, so that nothing is trained" in caplog.text
    assert said is not trains


@pytest.mark.slow
def test_max_steps_ends_within_an_epoch_and_a_resumed_training_makes_no_further_step(
    folder: Path,
) -> None:
    words = ["protocol.max_steps=7", "protocol.evaluations=4"]
    trainer = trainer_of(folder, *words)
    trainer.train()
    assert trainer.state.global_step == 7
    evaluated = [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert evaluated == [0, 2, 3, 5, 7]
    again = trainer_of(folder, *words)
    again.add_callback(EarlyStopping(again, None))
    with pytest.raises(AlreadyFinishedError):
        again.train(resume_from_checkpoint=open_checkpoint(folder))
    assert again.state.global_step == 7


@pytest.mark.slow
def test_patience_ends_the_training_and_keeps_the_best_epoch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["protocol.epochs=9", "protocol.selection=0.2", "protocol.patience=2"]
    trainer = trainer_of(folder, *words)
    found = iter([0.5, 0.7, 0.6, 0.7, 0.9, 0.9])
    scored = trainer.scorer_of

    def scripted(rows: Dataset, split: str) -> Any:
        score = scored(rows, split)
        assert score is not None
        value = next(found)
        return lambda output: score(output) | {"accuracy": value}

    trainer.scorer_of = scripted
    trainer.add_callback(EarlyStopping(trainer, 2))
    weights: dict[float, dict[str, torch.Tensor]] = {}
    model = trainer.model
    assert model is not None
    evaluate = trainer.evaluate

    def remember(*args: Any, **kwargs: Any) -> dict[str, float]:
        state = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        weights.setdefault(float(trainer.state.epoch or 0), state)
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(trainer, "evaluate", remember)
    trainer.train()
    assert [end.quality for end in epoch_ends(trainer)] == [0.5, 0.7, 0.6, 0.7]
    with caplog.at_level(logging.INFO):
        row, epoch = restore_best(trainer, folder)
    assert epoch == row["epoch"] == 2.0
    told = [record.message for record in caplog.records if record.message.startswith("epoch")]
    assert [line.partition(":")[0] for line in told] == ["epoch 2"]
    for name, value in model.named_parameters():
        if value.requires_grad:
            assert torch.equal(value, weights[2.0][name])


@pytest.mark.slow
def test_a_backbone_that_cannot_recompute_is_refused_before_it_is_pruned(tmp_path: Path) -> None:
    small = ("backbone=tiny-mpnet", "task=demo_mrpc", "task.limit=8", "device=cpu")
    request = ask_for(*small, "protocol.gradient_checkpointing=true", f"outputs={tmp_path}")
    with pytest.raises(ConfigError, match="backbone=tiny-mpnet does not support it"):
        train(request)


def test_a_compiled_run_does_not_leave_tf32_switched_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("transformers.training_args.is_torch_tf32_available", lambda: True)
    monkeypatch.setattr("transformers.training_args.enable_tf32", asked.append)
    for precision in ("fp32", "bf16"):
        spec = compose(*SMALL, "protocol.torch_compile=true")
        training_arguments(spec, folder, "cpu", precision, 40)
        assert asked[-1:] == [False], precision
        asked.clear()
