from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from composing import compose as compose_run
from pruning_cases import (
    WEIGHTS,
    Examples,
    Quadratic,
    classifier,
    cross_entropy,
    draw_examples,
    flatten,
    mean_output,
    scoring,
    split,
)
from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.prune import prune
from sparsead.pruning.snip import snip


def network(dropout: float = 0.0) -> nn.Sequential:
    return classifier(dropout=dropout).double().eval()


def examples() -> Examples:
    return draw_examples(12, dtype=torch.float64)


def test_quadratic_has_its_closed_form() -> None:
    model, b = Quadratic(), torch.randn(5, 7, dtype=torch.float64)
    w = model.weights().detach()
    expected = (w * (model.curvature @ w - b.mean(0))).abs()
    scores = snip(scoring(model, b.split([2, 3]), mean_output))
    assert scores["second"].shape == (2, 2)
    torch.testing.assert_close(flatten(scores), expected)


def test_scores_are_central_differences_of_the_loss() -> None:
    model, data = network(), examples()
    scores = snip(scoring(model, [data], cross_entropy))
    step = 1e-6
    for name, score in scores.items():
        weights = model.get_parameter(name).data.view(-1)
        for index, value in enumerate(weights.clone()):
            losses = []
            for sign in (1, -1):
                weights[index] = value + sign * step
                losses.append(cross_entropy(model, data).item())
            weights[index] = value
            slope = (losses[0] - losses[1]) / (2 * step)
            expected = abs(value.item() * slope)
            assert score.flatten()[index].item() == pytest.approx(expected, abs=1e-8)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.lists(st.integers(1, 11), max_size=4), st.floats(1e-3, 1e3))
def test_batch_sizes_and_the_scale_of_the_loss_change_no_order(
    cuts: list[int], scale: float
) -> None:
    model, data = network(), examples()
    edges = [0, *sorted(set(cuts)), 12]
    sizes = [after - before for before, after in pairwise(edges)]
    whole = flatten(snip(scoring(model, [data], cross_entropy)))
    parts = snip(
        scoring(model, split(data, sizes), lambda m, batch: scale * cross_entropy(m, batch))
    )
    torch.testing.assert_close(flatten(parts), scale * whole)
    assert torch.equal(flatten(parts).argsort(), whole.argsort())


def test_faithful_paper_keeps_the_sign() -> None:
    task = scoring(network(), [examples()], cross_entropy)
    signed = flatten(snip(task, faithful="paper"))
    assert (signed < 0).any()
    torch.testing.assert_close(signed.abs(), flatten(snip(task)))
    gradients = task.mean_gradients()
    z = -flatten({name: w.detach() * gradients[name] for name, w in task.tensors.items()})
    assert torch.equal(signed.argsort(), z.argsort(descending=True))


def test_train_mode_averages_seeded_dropout() -> None:
    def scores(model: nn.Module, seed: int = 0) -> Tensor:
        task = scoring(model, [examples()], cross_entropy, seed=seed)
        return flatten(snip(task, mode="train", draws=3))

    torch.testing.assert_close(
        scores(network()), flatten(snip(scoring(network(), [examples()], cross_entropy)))
    )
    model = network(dropout=0.5)
    first, again, other = (scores(model, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_train_mode_says_where_it_equals_eval_mode(
    dropout: float, caplog: pytest.LogCaptureFixture
) -> None:
    snip(scoring(network(dropout=dropout), [examples()], cross_entropy), mode="train")
    assert ("scores as pruner.mode=eval" in caplog.text) == (dropout == 0)


def test_many_draws_approach_the_expected_gradient() -> None:
    # Dropout before a linear loss: the expected gradient is the one without dropout.
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 1, bias=False)).double().eval()
    inputs = torch.rand(50, 6, dtype=torch.float64)
    task = scoring(model, [inputs], mean_output)
    averaged = snip(task, mode="train", draws=400)
    torch.testing.assert_close(flatten(averaged), flatten(snip(task)), rtol=0.1, atol=0)


def test_train_mode_through_prune_leaves_modes_statistics_and_random_state() -> None:
    normalised, dropped = nn.BatchNorm1d(6), nn.Dropout(0.3).eval()
    model = nn.Sequential(nn.Linear(4, 6), normalised, dropped, nn.Linear(6, 3))
    modes = [module.training for module in model.modules()]
    assert normalised.running_mean is not None
    statistics, state = normalised.running_mean.clone(), torch.get_rng_state()
    inputs, labels = examples()
    prune(
        model,
        tensors=WEIGHTS,
        sparsity=0.5,
        batches=[(inputs.float(), labels)],
        loss=cross_entropy,
        mode="train",
        draws=2,
    )
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(normalised.running_mean, statistics)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "trian"}, "did you mean train"),
        ({"faithful": "papr"}, "did you mean paper"),
        ({"draws": 2}, "pruner.mode=train"),
        ({"mode": "train", "draws": 0}, "at least 1"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        snip(scoring(network(), [examples()], cross_entropy), **options)


def test_no_batches_are_refused() -> None:
    with pytest.raises(PruningError, match="needs batches"):
        snip(scoring(network(), [], cross_entropy))


def test_snip_authors_keeps_what_the_authors_published_code_keeps() -> None:
    """Against the gradient of masks of ones, as in their pruners.py, and their global threshold."""
    spec = compose_run("pruner=snip_authors").pruner
    model, batches = network(), split(examples(), [6, 6])
    masks = {name: torch.ones_like(model.get_parameter(name)).requires_grad_() for name in WEIGHTS}
    for batch in batches:
        weights = {name: model.get_parameter(name).detach() * masks[name] for name in WEIGHTS}
        outputs = functional_call(model, weights, batch[0])
        F.cross_entropy(outputs, batch[1]).backward()
    gradients = [mask.grad for mask in masks.values() if mask.grad is not None]
    scores = torch.cat([gradient.abs().flatten() for gradient in gradients])
    threshold = scores.kthvalue(math.ceil(0.4 * len(scores))).values
    pruned = prune(
        model,
        tensors=WEIGHTS,
        sparsity=math.ceil(0.4 * len(scores)) / len(scores),
        pruner=spec.method,
        batches=batches,
        loss=cross_entropy,
        scope=spec.scope,
        minimum_kept=spec.minimum_kept,
        **spec.options,
    )
    kept = torch.cat([pruned[name].flatten() for name in WEIGHTS])
    assert torch.equal(kept, scores > threshold)
