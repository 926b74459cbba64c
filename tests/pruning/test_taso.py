"""TASO: LoRA's rows and columns take the importance of the pretrained weights that they change."""

from __future__ import annotations

import re

import peft
import pytest
import torch
from torch import Tensor, nn

from pruning_cases import scoring, transformers_loss
from sparsead.adapters.dora import DoRAAdapter
from sparsead.adapters.lora import LoRAAdapter
from sparsead.errors import PruningError
from sparsead.pruning.prune import prune
from sparsead.pruning.taso import taso
from tiny_models import tiny_classifier


class Layer(nn.Module):
    """y = W x, with LoRA of rank 2 in the submodule `adapter` of the linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2, bias=False)
        self.linear.weight.data = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0]])
        parts = {"lora_A": nn.Linear(3, 2, bias=False), "lora_B": nn.Linear(2, 2, bias=False)}
        self.lora = nn.Sequential(*parts.values())
        self.linear.add_module("adapter", nn.ModuleDict(parts))
        self.linear.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.linear(x) + self.lora(x)
        return outputs


def square(model: nn.Module, x: Tensor) -> Tensor:
    outputs: Tensor = model(x)
    return outputs.square().sum()


NAMES = ["linear.adapter.lora_A.weight", "linear.adapter.lora_B.weight"]


def test_scores_by_hand() -> None:
    """L = Σ y over x = (1, 2, 4), so that ∂L/∂W is (1, 2, 4) in each row."""
    scored = scoring(
        Layer(), [torch.tensor([[1.0, 2.0, 4.0]])], lambda m, x: m(x).sum(), tensors=NAMES
    )
    scores = taso(scored)
    importance = torch.tensor([[1.0, 4.0, 2.0], [3.0, 0.0, 4.0]])
    assert torch.equal(scores[NAMES[0]], importance.mean(0).expand(2, 3))
    assert torch.equal(scores[NAMES[1]], importance.mean(1)[:, None].expand(2, 2))


def test_it_leaves_no_trace_and_does_not_look_at_lora_s_own_values() -> None:
    masks = []
    for factor in (1.0, 30.0):
        model = Layer()
        with torch.no_grad():
            for name in NAMES:
                model.get_parameter(name).fill_(factor)
        before = model.linear.weight.clone()
        masks.append(
            prune(
                model,
                tensors=NAMES,
                sparsity=0.5,
                pruner="taso",
                batches=[torch.ones(1, 3)],
                loss=square,
            )
        )
        assert torch.equal(model.linear.weight, before)
        assert not model.linear.weight.requires_grad
        assert model.linear.weight.grad is None
    assert masks[0].removed == 5
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in NAMES)


def test_lora_here_and_in_peft_have_the_same_mask() -> None:
    tokens = torch.tensor([[0, 7, 8, 9, 2], [0, 11, 12, 13, 2]])
    batch = {"input_ids": tokens, "labels": torch.tensor([1, 0])}
    ours = LoRAAdapter(bottleneck=2, sites=["query", "value"]).insert(tiny_classifier(), 1)
    config = peft.LoraConfig(r=2, target_modules=["query", "value"])
    theirs = peft.get_peft_model(tiny_classifier(), config)
    names = [name for name, _ in theirs.named_parameters() if "lora_" in name]
    found = [
        taso(scoring(model, [batch], transformers_loss, tensors=which))
        for model, which in ((ours.model, ours.prunable), (theirs, names))
    ]
    for name, other in zip(ours.prunable, names, strict=True):
        torch.testing.assert_close(found[0][name], found[1][other])


def test_other_adapters_are_refused_in_one_line() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(PruningError, match=r"0\.weight is no matrix of LoRA; choose adapter=lora"):
        taso(scoring(model, [torch.ones(1, 3)], lambda m, x: m(x).sum()))


def test_dora_here_and_in_peft_is_refused_in_one_line() -> None:
    ours = DoRAAdapter(bottleneck=2, sites=["query"]).insert(tiny_classifier(), 1)
    config = peft.LoraConfig(r=2, target_modules=["query"], use_dora=True)
    theirs = peft.get_peft_model(tiny_classifier(), config)
    names = [name for name, _ in theirs.named_parameters() if re.search("lora_[AB]", name)]
    for model, which in ((ours.model, ours.prunable), (theirs, names)):
        with pytest.raises(PruningError, match=r"query\S* is of DoRA, .*; choose adapter=lora$"):
            taso(scoring(model, [], transformers_loss, tensors=which))
