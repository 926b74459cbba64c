"""`sparsead.prune` on models that peft's tuners have changed: exact, lasting, saved and loaded.

HRA is not among them: it divides vectors by their lengths, so that a vector that is removed whole
makes peft's own outputs nan.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from pruning_cases import transformers_loss
from sparsead.pruning.prune import prune
from tiny_models import tiny_classifier

PLACES: dict[str, Any] = {"target_modules": ["query", "value"], "task_type": "SEQ_CLS"}
TUNERS: dict[str, Callable[[], peft.PeftConfig]] = {
    "lora": lambda: peft.LoraConfig(r=4, **PLACES),
    "dora": lambda: peft.LoraConfig(r=4, use_dora=True, **PLACES),
    "ia3": lambda: peft.IA3Config(feedforward_modules=[], **PLACES),
    "loha": lambda: peft.LoHaConfig(r=4, **PLACES),
    "lokr": lambda: peft.LoKrConfig(r=4, **PLACES),
    "vera": lambda: peft.VeraConfig(r=4, **PLACES),
    "oft": lambda: peft.OFTConfig(r=0, oft_block_size=8, **PLACES),
    "fourierft": lambda: peft.FourierFTConfig(n_frequency=20, **PLACES),
    "shira": lambda: peft.ShiraConfig(r=2, **PLACES),
    "miss": lambda: peft.MissConfig(r=4, **PLACES),
    "randlora": lambda: peft.RandLoraConfig(r=4, **PLACES),
    "prefix": lambda: peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="SEQ_CLS"),
    "prompt": lambda: peft.PromptTuningConfig(num_virtual_tokens=4, task_type="SEQ_CLS"),
    "layer_norm": lambda: peft.LNTuningConfig(target_modules=["LayerNorm"], task_type="SEQ_CLS"),
}
SPARSITY = 0.5
BATCH = {
    "input_ids": torch.tensor([[2, 7, 8, 9, 3], [2, 11, 12, 13, 3]]),
    "labels": torch.tensor([1, 0]),
}


def tuned(tuner: str) -> tuple[peft.PeftModel, list[str]]:
    """Return a model with the tuner in it, and the names of the tuner's parameters."""
    torch.manual_seed(0)
    model = peft.get_peft_model(tiny_classifier(), TUNERS[tuner]())
    trained = [name for name, each in model.named_parameters() if each.requires_grad]
    return model, [name for name in trained if "classifier" not in name]


def take_steps(model: torch.nn.Module) -> None:
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        transformers_loss(model, BATCH).backward()
        optimizer.step()


def logits(model: torch.nn.Module) -> Tensor:
    found: Tensor = model.eval()(**BATCH).logits
    return found.detach()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("tuner", TUNERS)
def test_a_tuner_is_pruned_exactly_trains_so_and_is_loaded_by_peft(
    tuner: str, tmp_path: Path
) -> None:
    model, names = tuned(tuner)
    masks = prune(
        model,
        tensors=names,
        sparsity=SPARSITY,
        pruner="snip",
        batches=[BATCH],
        loss=transformers_loss,
        probe=True,
    )
    assert masks.removed == round(SPARSITY * sum(model.get_parameter(n).numel() for n in names))
    untrained = logits(model)
    take_steps(model)
    trained = logits(model)
    assert not torch.equal(trained, untrained)
    for name, kept in masks.items():
        assert (model.get_parameter(name)[~kept] == 0).all()
    model.save_pretrained(str(tmp_path))
    torch.manual_seed(0)  # vera and randlora draw their frozen matrices again
    loaded = peft.PeftModel.from_pretrained(tiny_classifier(), str(tmp_path))
    torch.testing.assert_close(logits(loaded), trained, rtol=0, atol=1e-6)
    for name, kept in masks.items():
        assert (loaded.get_parameter(name)[~kept] == 0).all()
