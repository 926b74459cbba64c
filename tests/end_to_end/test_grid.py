"""Every adapter in every tiny backbone: pruned, trained, stored, loaded, the same predictions."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from composing import compose
from exhaustive import spread
from pruning_cases import flatten, scoring, transformers_loss
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.chosen import restore_chosen, train_chosen
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.pfeiffer import PfeifferAdapter
from sparsead.assembly.build import prune_adapter
from sparsead.backbones.loading import Backbone, load_backbone
from sparsead.config.groups import AdapterSpec
from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.contract import PRUNERS
from sparsead.pruning.grasp import grasp
from sparsead.pruning.masks import Masks
from sparsead.pruning.prune import prune
from sparsead.pruning.storage import load_sparse, save_sparse
from sparsead.runs.result import name_of
from synthetic import plain_result, write_record

CONF = Path(__file__).parents[2] / "conf"
METHODS = sorted(
    {file.stem for file in (CONF / "adapter").glob("*.yaml")}
    - {"peft"}  # tests/adapters/test_peft.py
)
BACKBONES = sorted(file.stem for file in (CONF / "backbone").glob("tiny-*.yaml"))
NO_INTERFACE = "the attention of {}, which does not go through"
REFUSED = {
    ("prefix", "tiny-deberta"): NO_INTERFACE.format("deberta-v2"),
    ("mam", "tiny-deberta"): NO_INTERFACE.format("deberta-v2"),
    ("prefix", "tiny-mpnet"): NO_INTERFACE.format("mpnet"),
    ("mam", "tiny-mpnet"): NO_INTERFACE.format("mpnet"),
    **{
        (name, f"tiny-{kind}"): f"{kind} has no query projection of its own{why}"
        for name in ("lora", "dora", "sparse")
        for kind, why in (("gpt2", ""), ("modernbert", ": one layer"))
    },
    **{
        ("ia3", f"tiny-{kind}"): f"{kind} has no key projection of its own"
        for kind in ("gpt2", "modernbert")
    },
    ("bitfit", "tiny-t5"): "t5 has no biases",
    ("bitfit", "tiny-modernbert"): "modernbert has no biases",
    ("bitfit", "tiny-llama"): "llama has no biases",
    ("bitfit", "tiny-qwen"): "qwen3 has no biases",
}
OPTIONS = {
    **{
        name: ["adapter.bottleneck=4"]
        for name in (
            *(
                "houlsby",
                "houlsby_authors",
                "pfeiffer",
                "parallel",
                "lora",
                "dora",
                "prefix",
                "mam",
            ),
        )
    },
    "fusion": ["adapter.fusion.prune=qk"],
    "sparse": ["adapter.budget=0.05"],
}
PRUNER_NAMES = sorted(
    {file.stem for file in (CONF / "pruner").glob("*.yaml")} - {"none", "taso"}  # LoRA's alone
)
STEP = 1e-3
"""Along the gradient, for differences: the norms of Llama and T5 compute in fp32 whatever else."""
NOTHING_TO_PRUNE = {"full", "bitfit", "head"}


@cache
def adapter_spec(method: str) -> AdapterSpec:
    return compose(f"adapter={method}", *OPTIONS.get(method, [])).adapter


@cache
def loaded(backbone: str) -> Backbone:
    return load_backbone(compose(f"backbone={backbone}").backbone)


def fresh(method: str, backbone: Backbone, folder: Path) -> AdaptedModel:
    spec = adapter_spec(method)
    options = dict(spec.options)
    if method == "fusion":
        options["fusion"] = options["fusion"] | stage_one(backbone, folder)
    adapter = ADAPTERS.bind(spec.method, options)()
    adapted: AdaptedModel = adapter.insert(plain(backbone), 1)
    return adapted


def plain(backbone: Backbone) -> PreTrainedModel:
    return backbone.model(AutoModelForSequenceClassification, {"num_labels": 2}, seed=1)


def stage_one(backbone: Backbone, folder: Path) -> dict[str, Any]:
    """Write the files of two finished runs that fusion reads, once for all tests."""
    results = [plain_result(seed=seed) for seed in (0, 1)]
    runs = [folder / "runs" / name_of(result) for result in results]
    for seed, (run, result) in enumerate(zip(runs, results, strict=True)):
        if not run.is_dir():
            write_record(folder, result)
            adapted = PfeifferAdapter(bottleneck=4).insert(plain(backbone), seed)
            tensors = {name: tensor.numpy() for name, tensor in adapted.trained_state().items()}
            metadata = {"identity": result["identity"]}
            save_sparse(run / "adapter.safetensors", tensors, {}, metadata)
    return {"sources": [str(run) for run in runs], "adapters": 2 * [{"bottleneck": 4}]}


def batch(backbone: Backbone) -> dict[str, Tensor]:
    texts = ["one text", "a longer text than that", "three", "and the last"]
    encoded = dict(backbone.tokenizer(texts, padding=True, return_tensors="pt"))
    return encoded | {"labels": torch.tensor([0, 1, 1, 0])}


def train(adapted: AdaptedModel, data: dict[str, Tensor]) -> None:
    trained = [p for p in adapted.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1)
    adapted.model.train()
    for _ in range(2):
        optimizer.zero_grad()
        adapted.model(**data).loss.backward()
        optimizer.step()
    adapted.model.eval()


def store(adapted: AdaptedModel, masks: Masks, file: Path) -> dict[str, Tensor]:
    tensors = {name: tensor.numpy() for name, tensor in adapted.trained_state().items()}
    save_sparse(file, tensors, {name: mask.numpy() for name, mask in masks.items()}, {})
    return {name: torch.from_numpy(array) for name, array in load_sparse(file).tensors.items()}


def remove_weights(adapted: AdaptedModel, pruner: str, data: dict[str, Tensor]) -> Masks:
    arguments: dict[str, Any] = {"tensors": adapted.prunable, "pruner": pruner, "batches": [data]}
    if not adapted.prunable:
        with pytest.raises(PruningError, match="nothing to prune"):
            prune(adapted.model, sparsity=0.4, loss=transformers_loss, **arguments)
        return Masks({})
    return prune(adapted.model, sparsity=0.4, loss=transformers_loss, **arguments)


@pytest.mark.parametrize(
    ("method", "backbone", "pruner"),
    [
        case
        for case in spread(2, METHODS, BACKBONES, ["snip", "er"])
        if case.values[:2] not in REFUSED and case.values[0] != "sparse"
    ],
)
def test_a_cell_trains_prunes_saves_loads_and_predicts_the_same(
    tmp_path: Path, method: str, backbone: str, pruner: str
) -> None:
    data = batch(loaded(backbone))
    adapted = fresh(method, loaded(backbone), tmp_path)
    model = adapted.model
    assert bool(adapted.prunable) == (method not in NOTHING_TO_PRUNE)
    masks = remove_weights(adapted, pruner, data)
    assert masks.removed == round(0.4 * masks.total)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(adapted, data)

    trained = {*adapted.adapter, *adapted.head}
    changed = {n for n, p in model.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert changed <= trained
    assert changed & {*adapted.adapter} or method == "head"
    for name, mask in masks.items():
        assert not model.get_parameter(name).detach()[~mask].any()

    other = fresh(method, loaded(backbone), tmp_path)
    stored = store(adapted, masks, tmp_path / "adapter.safetensors")
    assert set(stored) == {*trained, *adapted.frozen}
    other.model.load_state_dict(stored, strict=False)
    with torch.no_grad():
        assert torch.equal(other.model.eval()(**data).logits, model(**data).logits)


@pytest.mark.parametrize("backbone", [b for b in BACKBONES if ("sparse", b) not in REFUSED])
def test_the_backbone_s_own_weights_train_and_are_stored(tmp_path: Path, backbone: str) -> None:
    data = batch(loaded(backbone))
    spec = compose(f"backbone={backbone}", "adapter=sparse", *OPTIONS["sparse"], "pruner=snip")
    candidates = fresh("sparse", loaded(backbone), tmp_path)
    masks = prune_adapter(spec, PRUNERS.bind("snip", {}), candidates, [data])
    adapted = train_chosen(candidates, masks)
    before = {name: p.detach().clone() for name, p in adapted.model.named_parameters()}
    train(adapted, data)
    logits = adapted.model(**data).logits
    for name, parameter in adapted.model.named_parameters():
        mask = masks.get(name)
        if mask is not None:
            assert torch.equal(parameter.detach()[~mask], before[name][~mask])
        elif name not in {*adapted.adapter, *adapted.head}:
            assert torch.equal(parameter.detach(), before[name])
    stored = store(adapted, Masks({}), tmp_path / "adapter.safetensors")
    other = restore_chosen(fresh("sparse", loaded(backbone), tmp_path), stored)
    other.model.load_state_dict(stored, strict=False)
    assert torch.equal(other.model.eval()(**data).logits, logits)


@pytest.mark.parametrize(("method", "backbone"), REFUSED)
def test_where_a_method_cannot_go_the_error_says_which_and_why(
    tmp_path: Path, method: str, backbone: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(REFUSED[method, backbone])):
        fresh(method, loaded(backbone), tmp_path)


@pytest.mark.parametrize(("backbone", "pruner"), spread(2, BACKBONES, PRUNER_NAMES))
def test_every_pruner_prunes_every_architecture(backbone: str, pruner: str) -> None:
    spec = compose(
        f"pruner={pruner}", "sparsity.ratio=0.5", "adapter=houlsby", "adapter.bottleneck=4"
    )
    adapter = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)()
    adapted = adapter.insert(plain(loaded(backbone)), 1)
    chosen = PRUNERS.bind(spec.pruner.method, spec.pruner.options)
    masks = prune_adapter(spec, chosen, adapted, [batch(loaded(backbone))])
    assert masks.removed == masks.total // 2
    assert adapted.model(**batch(loaded(backbone))).logits.isfinite().all()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_grasp_scores_are_those_of_differences_between_gradients(backbone: str) -> None:
    adapted = fresh("houlsby", loaded(backbone), Path())
    model = adapted.model.double().eval()
    tensors = {name: model.get_parameter(name) for name in adapted.prunable}
    for name, tensor in tensors.items():
        draws = torch.Generator().manual_seed(len(name))
        tensor.data.normal_(0, 0.3, generator=draws)
    task = scoring(
        model, [batch(loaded(backbone))], transformers_loss, tensors=adapted.prunable, sparsity=0.4
    )
    scores = grasp(task)
    weights = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    gradients = task.mean_gradients()
    either_side = []
    for step in (STEP, -STEP):
        for name, tensor in tensors.items():
            tensor.data = weights[name] + step * gradients[name]
        either_side.append(task.mean_gradients())
    by_differences = {
        name: weights[name] * (either_side[0][name] - either_side[1][name]) / (2 * STEP)
        for name in scores
    }
    error = torch.linalg.norm(flatten(scores) - flatten(by_differences))
    assert error < 5e-3 * torch.linalg.norm(flatten(scores))
