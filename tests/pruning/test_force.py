"""FORCE, and the rounds that it shares with SynFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pruning_cases import WEIGHTS, Examples, classifier, cross_entropy, draw_examples, scoring
from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.budget import masks_from_scores
from sparsead.pruning.contract import Scores, Scoring
from sparsead.pruning.force import force, score_in_rounds
from sparsead.pruning.prune import prune
from sparsead.pruning.snip import snip
from sparsead.pruning.synflow import synflow


def mlp() -> nn.Sequential:
    return classifier(6, 8, activation=nn.ReLU)


def task(model: nn.Module) -> Scoring:
    return scoring(model, [draw_examples(20, width=6)], cross_entropy, sparsity=0.8)


def bits(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone().view(torch.int32) for name, tensor in model.named_parameters()}


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in bits(model).items())


def test_one_round_is_snip() -> None:
    scores, expected = force(task(mlp()), rounds=1), snip(task(mlp()))
    assert all(torch.equal(scores[name], expected[name]) for name in WEIGHTS)


def test_the_gradient_is_taken_at_the_masked_weights() -> None:
    model = mlp()
    scored = task(model)
    half_way = masks_from_scores(snip(scored), 1 - 0.2**0.5, scope="global", minimum_kept=0, seed=0)
    masked = mlp()
    with torch.no_grad():
        for name in WEIGHTS:
            masked.get_parameter(name).mul_(half_way[name])
    gradients = task(masked).mean_gradients()
    scores = force(scored, rounds=2)
    for name in WEIGHTS:
        original = model.get_parameter(name).detach()
        torch.testing.assert_close(scores[name], (original * gradients[name]).abs())
        assert scores[name][~half_way[name]].any()


@pytest.mark.parametrize("pruner", [force, synflow])
def test_scoring_in_rounds_leaves_every_bit_of_the_weights(
    pruner: Callable[..., Scores],
) -> None:
    model = mlp()
    with torch.no_grad():
        model.get_parameter("0.weight")[0, :2] = torch.tensor([-0.0, 0.0])
    before = bits(model)
    pruner(task(model), rounds=5)
    assert unchanged(model, before)


def test_weights_are_put_back_when_scoring_fails() -> None:
    model = mlp()
    before = bits(model)
    calls: list[Examples] = []

    def failing(m: nn.Module, batch: Examples) -> Tensor:
        calls.append(batch)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return cross_entropy(m, batch)

    broken = scoring(model, [draw_examples(20, width=6)], failing, sparsity=0.8)
    with pytest.raises(RuntimeError, match="out of memory"):
        force(broken, rounds=5)
    assert unchanged(model, before)


def low_and_high() -> tuple[Scores, Scoring]:
    """Return scores of which one tensor has the lowest, and a task with tensors of their shapes."""
    model = mlp()
    scores = {name: model.get_parameter(name).detach().abs() + 1 for name in WEIGHTS}
    scores[WEIGHTS[0]] -= 1
    return scores, task(model)


def test_every_round_has_the_scope_of_the_mask() -> None:
    scores, scored = low_and_high()
    rounds: list[Scores] = []

    def score(masks: Mapping[str, Tensor]) -> Scores:
        rounds.append(dict(masks))
        return scores

    score_in_rounds(replace(scored, scope="tensor"), 5, score)
    for done, masks in enumerate(rounds):
        for mask in masks.values():
            assert abs(int(mask.sum()) - 0.2 ** (done / 5) * mask.numel()) <= 1


def test_every_round_keeps_the_minimum() -> None:
    scores, scored = low_and_high()
    least: list[float] = []

    def score(masks: Mapping[str, Tensor]) -> Scores:
        least.append(min(float(mask.float().mean()) for mask in masks.values()))
        return scores

    score_in_rounds(scored, 5, score)
    assert min(least) == 0
    least.clear()
    score_in_rounds(replace(scored, minimum_kept=0.15), 5, score)
    assert min(least) >= 0.15


@pytest.mark.parametrize("how", [{"scope": "tensor"}, {"minimum_kept": 0.1}])
def test_synflow_keeps_no_weight_that_an_earlier_round_removed(how: dict[str, Any]) -> None:
    # One layer scores far below the other, so that rounds over all tensors would empty it.
    model = mlp()
    with torch.no_grad():
        model.get_parameter("0.weight")[:, 1:].mul_(1e-3)
    batches = [draw_examples(20, width=6)]
    masks = prune(
        model, tensors=WEIGHTS, sparsity=0.8, pruner="synflow", batches=batches, rounds=5, **how
    )
    assert masks.not_by_score.ties == 0


@pytest.mark.parametrize("pruner", [force, synflow])
def test_no_rounds_are_refused(pruner: Callable[..., Scores]) -> None:
    with pytest.raises(ConfigError, match=r"pruner\.rounds=0"):
        pruner(task(mlp()), rounds=0)


def test_scores_of_a_round_that_are_not_finite_are_refused() -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(PruningError, match="weight: its scores are not all finite"):
        prune(
            model,
            tensors=["weight"],
            sparsity=0.5,
            pruner="force",
            batches=[torch.full((2, 3), torch.nan)],
            loss=lambda network, batch: network(batch).sum(),
        )
