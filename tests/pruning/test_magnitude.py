from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from pruning_cases import WEIGHTS, classifier, scoring
from sparsead.pruning.magnitude import magnitude
from sparsead.pruning.prune import prune


@pytest.mark.parametrize("sparsity", [0.2, 0.4, 0.75])
def test_scores_are_those_of_torchs_global_l1(sparsity: float) -> None:
    theirs, ours = classifier(), classifier()
    torch_prune.global_unstructured(
        [(theirs.get_submodule(name.removesuffix(".weight")), "weight") for name in WEIGHTS],
        pruning_method=torch_prune.L1Unstructured,
        amount=sparsity,
    )
    masks = prune(ours, tensors=WEIGHTS, sparsity=sparsity, pruner="magnitude", minimum_kept=0)
    for name in WEIGHTS:
        assert torch.equal(masks[name], theirs.get_buffer(f"{name}_mask").bool())


def test_scores_by_hand() -> None:
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[-3.0, 0.5], [0.0, 2.0]])
    scores = magnitude(scoring(model))
    assert torch.equal(scores["weight"], torch.tensor([[3.0, 0.5], [0.0, 2.0]]))
