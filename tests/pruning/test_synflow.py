from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pruning_cases import (
    bert,
    classifier,
    cross_entropy,
    draw_examples,
    parameter_names,
    scoring,
    token_batches,
)
from sparsead.errors import PruningError
from sparsead.pruning.prune import prune
from sparsead.pruning.synflow import synflow


def chain(depth: int = 4, width: int = 5, scale: float = 1.0) -> nn.Sequential:
    torch.manual_seed(3)
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def test_a_linear_chain_has_its_closed_form_and_is_conserved() -> None:
    model = chain()
    scores = synflow(scoring(model, [torch.randn(1, 5)]), rounds=1)
    first, second, third, fourth = (p.detach().abs().double() for p in model.parameters())
    ones = torch.ones(5, dtype=torch.float64)
    expected = (ones @ fourth @ third)[:, None] * second * (first @ ones)[None, :]
    torch.testing.assert_close(scores["1.weight"], expected)
    total = ones @ fourth @ third @ second @ first @ ones
    for score in scores.values():
        torch.testing.assert_close(score.sum(), total)


def test_a_batch_that_the_model_does_not_take_is_one_line() -> None:
    with pytest.raises(PruningError, match="gives the model the keys x, labels by name of a batch"):
        synflow(scoring(chain(), [{"x": torch.randn(1, 5), "labels": torch.zeros(1)}]))


def test_neither_the_data_nor_the_batch_size_matters() -> None:
    model = chain()
    one = synflow(scoring(model, [torch.randn(1, 5)]), rounds=3)
    many = synflow(scoring(model, [torch.randn(4, 5), torch.randn(9, 5)]), rounds=3)
    for name in one:
        torch.testing.assert_close(4 * one[name], many[name])


def test_nothing_overflows_where_float32_would() -> None:
    model = chain(depth=40, scale=1e3)
    scores = synflow(scoring(model, [torch.ones(1, 5)]))
    assert all(score.isfinite().all() for score in scores.values())
    assert max(score.max() for score in scores.values()) > torch.finfo(torch.float32).max


def test_rounds_disconnect_no_layer() -> None:
    # 25 of 1,000 weights stay: far above the 4 that one path needs, far below what one shot takes.
    model = nn.Sequential(*(nn.Linear(10, 10, bias=False) for _ in range(10)))
    masks = prune(
        model,
        tensors=parameter_names(model),
        sparsity=0.975,
        pruner="synflow",
        batches=[torch.ones(1, 10)],
        minimum_kept=0,
        rounds=100,
    )
    assert masks.removed == 975
    path = torch.ones(10)
    for mask in masks.values():
        path = mask.float() @ path
    assert path.any()


def test_what_earlier_rounds_removed_scores_zero() -> None:
    model = classifier(6, 8, activation=nn.ReLU)
    examples = draw_examples(20, width=6)
    scores = synflow(scoring(model, [examples], cross_entropy, sparsity=0.8), rounds=4)
    removed = sum(int((score == 0).sum()) for score in scores.values())
    assert removed >= round((1 - 0.2**0.75) * 72)


def test_a_transformer_is_scored_by_its_outputs_but_the_loss() -> None:
    model = bert()
    labelled = token_batches()[0]
    unlabelled = {key: value for key, value in labelled.items() if key != "labels"}
    names = [name for name in parameter_names(model) if "intermediate.dense.weight" in name]
    plain = synflow(scoring(model, [unlabelled], tensors=names), rounds=2)
    with_loss = synflow(scoring(model, [labelled], tensors=names), rounds=2)
    for name, score in plain.items():
        assert score.isfinite().all()
        assert score.any()
        assert torch.equal(score, with_loss[name])


class Silent(nn.Module):
    """A module that returns only a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": self.layer(x).sum()}


def test_a_batch_and_an_output_are_needed() -> None:
    with pytest.raises(PruningError, match="needs one batch"):
        synflow(scoring(classifier(), []))
    with pytest.raises(PruningError, match="no floating tensor"):
        synflow(scoring(Silent(), [torch.ones(1, 5)]))
