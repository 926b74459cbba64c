"""peft's tuners as adapters: pruned, trained, stored and loaded; what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from composing import ask_for, compose
from pruning_cases import transformers_loss
from sparsead.adapters.peft import PeftTuner
from sparsead.assembly.checks import check_buildable
from sparsead.assembly.trained import load
from sparsead.config.values.adapters import TUNERS
from sparsead.errors import ConfigError
from sparsead.pruning.prune import prune
from sparsead.train import train
from tiny_models import tiny_classifier

PLACES = {"target_modules": ["query", "value"]}
CONFIGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("delora", "gralora", "hira", "hra", "loha", "lokr"), PLACES | {"r": 4}),
    **dict.fromkeys(("miss", "randlora", "shira"), PLACES | {"r": 4}),
    "boft": PLACES | {"boft_block_size": 4},
    "c3a": PLACES | {"block_size": 8},
    "fourierft": PLACES | {"n_frequency": 20},
    "ia3": PLACES | {"feedforward_modules": []},
    "ln_tuning": {"target_modules": ["LayerNorm"]},
    "oft": PLACES | {"r": 0, "oft_block_size": 8},
    "road": PLACES | {"group_size": 8},
}
ONLY_FACTORS = ("ia3", "ln_tuning")
BATCH = {
    "input_ids": torch.tensor([[2, 7, 8, 9, 3], [2, 11, 12, 13, 3]]),
    "labels": torch.tensor([1, 0]),
}


def logits(model: torch.nn.Module) -> Tensor:
    found: Tensor = model.eval()(**BATCH).logits
    return found.detach()


def test_every_tuner_is_tried() -> None:
    assert set(CONFIGS) == set(TUNERS)


@pytest.mark.slow
@pytest.mark.parametrize("tuner", sorted(CONFIGS))
def test_a_tuner_is_pruned_trains_and_is_loaded_by_its_names(tuner: str) -> None:
    adapter = PeftTuner(tuner, CONFIGS[tuner])
    adapted = adapter.insert(tiny_classifier(), seed=1)
    torch.rand(5)  # what was drawn before does not matter
    again = adapter.insert(tiny_classifier(), seed=1)
    model, other = adapted.model, again.model
    assert adapted.adapter
    for name in adapted.stored:
        assert torch.equal(model.get_parameter(name), other.get_parameter(name))
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    if tuner in ONLY_FACTORS:
        assert adapted.prunable == ()
    else:
        masks = prune(
            model,
            tensors=adapted.prunable,
            sparsity=0.25,
            batches=[BATCH],
            loss=transformers_loss,
            probe=True,
        )
        assert masks.removed == round(0.25 * masks.total)
    untrained = logits(model)
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        transformers_loss(model, BATCH).backward()
        optimizer.step()
    assert not torch.equal(logits(model), untrained)
    for name, value in frozen.items():
        assert torch.equal(model.get_parameter(name), value)
    other.load_state_dict(adapted.trained_state(), strict=False)
    assert torch.equal(logits(other), logits(model))


@pytest.mark.slow
@pytest.mark.parametrize("tuner", sorted({*CONFIGS} - {"hra"}))  # hra divides by its vectors' norms
def test_without_its_prunable_weights_a_tuner_is_the_backbone(tuner: str) -> None:
    """A removed weight takes a part of the adapter away, and never a part of the backbone."""
    adapted = PeftTuner(tuner, CONFIGS[tuner]).insert(tiny_classifier(), seed=1)
    with torch.no_grad():
        for name in adapted.prunable:
            adapted.model.get_parameter(name).zero_()
    torch.testing.assert_close(logits(adapted.model), logits(tiny_classifier()), rtol=0, atol=1e-7)


@pytest.mark.parametrize("tuner", ONLY_FACTORS)
def test_a_tuner_of_factors_alone_is_not_pruned_but_trains_dense(tuner: str) -> None:
    asked = ("adapter=peft", f"adapter.type={tuner}", "backbone=tiny-bert", "device=cpu")
    with pytest.raises(ConfigError, match=f"adapter.type={tuner}: its weights are factors") as said:
        check_buildable(compose(*asked, "pruner=random", "sparsity.ratio=0.5"))
    assert "\n" not in str(said.value)
    assert ("take adapter=ia3" in str(said.value)) is (tuner == "ia3")
    check_buildable(compose(*asked, "pruner=none"))


@pytest.mark.slow
def test_a_run_is_recorded_and_loaded(tmp_path: Path) -> None:
    record = train(
        ask_for(
            *("backbone=tiny-bert", "task.limit=8", "protocol.epochs=1", "device=cpu"),
            *("adapter=peft", "adapter.type=c3a", "++adapter.config.block_size=8"),
            *("pruner=random", "sparsity.ratio=0.5", "precision=fp32", f"outputs={tmp_path}"),
        )
    )
    assert "_c3a_random_" in record.folder.name
    assert record.result["sparsity"]["realised"] == 0.5
    assert record.result["parameters"]["added_flops_per_token"] is None  # peft computes with it
    loaded = load(record.folder)
    zeros = [(loaded.model.get_parameter(name) == 0).sum() for name in loaded.adapted.prunable]
    assert sum(map(int, zeros)) == record.result["sparsity"]["removed"]


@pytest.mark.parametrize(
    ("tuner", "config", "said"),
    [
        ("loka", {}, "adapter.type=loka: no such choice; did you mean lokr?"),
        ("lora", {}, "adapter.type=lora: no such choice"),  # it imports what megatron_core names
        ("loha", {"rank": 4}, "peft refuses it: TypeError"),
        ("loha", {"target_modules": ["nothing"]}, "Target modules {'nothing'} not found"),
        (
            "boft",
            {"target_modules": ["query"], "boft_block_size": 4, "bias": "all"},
            "of the backbone train too, which is not recorded here; leave that key out",
        ),
    ],
)
def test_what_peft_has_not_is_refused_in_one_line(
    tuner: str, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=r"^adapter\.type") as refusal:
        PeftTuner(tuner, config).insert(tiny_classifier(), 1)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("tuner", "given"),
    [
        ("loha", "modules_to_save=[classifier]"),
        ("lokr", "inference_mode=true"),
        ("loha", "alpha=0"),
        ("lokr", "alpha_pattern={query: 0.0}"),
        ("fourierft", "scaling=.nan"),
        ("delora", "delora_lambda=0"),
        ("lokr", "module_dropout=1.0"),
        ("hira", "hira_dropout=1.5"),
    ],
)
def test_a_key_by_which_no_adapter_would_train_is_refused(tuner: str, given: str) -> None:
    asked = ("backbone=tiny-bert", "adapter=peft", f"adapter.type={tuner}", "pruner=none")
    key, _, value = given.partition("=")
    words = [*asked, f"++adapter.config.{key}={value.replace('.nan', 'nan')}"]
    with pytest.raises(ConfigError, match=rf"^adapter\.config\.{key}=") as refusal:
        compose(*words)
    assert "\n" not in str(refusal.value)


def test_without_peft_the_installing_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'sparsead\[peft\]'"):
        PeftTuner("loha", PLACES).insert(tiny_classifier(), 1)
