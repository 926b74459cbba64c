from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pruning_cases import bottlenecks, copy_parameters, parameter_names, scoring
from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.nm import nm
from sparsead.pruning.prune import prune


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.sampled_from([(1, 2), (1, 4), (2, 4), (3, 4), (4, 8), (1, 3), (2, 3)]), st.booleans())
def test_every_group_keeps_its_n_best(pattern: tuple[int, int], by_tensor: bool) -> None:
    n, m = pattern
    model = bottlenecks(widths=(m * 3, m * 5), bottleneck=m * 2)
    before = copy_parameters(model)
    masks = prune(
        model,
        tensors=parameter_names(model),
        sparsity=1 - n / m,
        pruner="nm",
        scope="tensor" if by_tensor else "global",
        n=n,
        m=m,
    )
    for name, mask in masks.items():
        groups = mask.view(-1, m)
        assert (groups.sum(1) == n).all()
        weights = before[name].abs().view(-1, m)
        lowest_kept = weights.masked_fill(~groups, torch.inf).amin(1)
        highest_removed = weights.masked_fill(groups, 0).amax(1)
        assert (lowest_kept >= highest_removed).all()


def test_ties_in_a_group_are_broken_by_the_seed() -> None:
    model = bottlenecks()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    first, again, other = (nm(scoring(model, seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("sparsity", "options", "error", "message"),
    [
        (0.4, {}, PruningError, r"exactly 1 - 2/4 = 0\.5"),
        (0.5, {"n": 4, "m": 4}, ConfigError, r"pruner\.n=4"),
        (0.5, {"n": 0}, ConfigError, r"pruner\.n=0"),
        (0.5, {"n": 4, "m": 8}, PruningError, r"rows of 0\.down\.weight, 1\.down\.weight"),
    ],
)
def test_bad_patterns_are_refused(
    sparsity: float, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    model = bottlenecks()
    with pytest.raises(error, match=message):
        prune(model, tensors=parameter_names(model), sparsity=sparsity, pruner="nm", **options)
