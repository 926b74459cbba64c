from __future__ import annotations

from math import ceil
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sparsead.errors import PruningError
from sparsead.pruning.budget import find_not_by_score, masks_from_scores

SHAPES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5)
SPARSITIES = st.floats(0, 0.9)
SCOPES = st.sampled_from(["global", "tensor"])


@st.composite
def scores(draw: st.DrawFn) -> dict[str, Tensor]:
    """Scores with few distinct values, so that most are tied."""
    values = draw(st.integers(1, 4))
    seed = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    return {
        f"t{number}": torch.randint(0, values, shape, generator=seed).float()
        for number, shape in enumerate(draw(SHAPES))
    }


def masks(
    scores: dict[str, Tensor],
    sparsity: float,
    *,
    scope: str = "global",
    minimum_kept: float = 0.0,
    seed: int = 0,
) -> dict[str, Tensor]:
    return masks_from_scores(scores, sparsity, scope=scope, minimum_kept=minimum_kept, seed=seed)


def removed(found: dict[str, Tensor]) -> int:
    return sum(int((~mask).sum()) for mask in found.values())


@given(scores(), SPARSITIES, SCOPES, st.integers(0, 5))
def test_the_count_is_exact_whatever_the_ties(
    scores: dict[str, Tensor], sparsity: float, scope: str, seed: int
) -> None:
    total = sum(score.numel() for score in scores.values())
    found = masks(scores, sparsity, scope=scope, seed=seed)
    assert removed(found) == round(sparsity * total)
    assert {name: mask.shape for name, mask in found.items()} == {
        name: score.shape for name, score in scores.items()
    }


@given(scores(), SPARSITIES, SPARSITIES, SCOPES)
def test_a_higher_sparsity_removes_a_superset(
    scores: dict[str, Tensor], one: float, other: float, scope: str
) -> None:
    low, high = sorted((one, other))
    denser, sparser = (masks(scores, sparsity, scope=scope) for sparsity in (low, high))
    assert all((denser[name] | ~sparser[name]).all() for name in scores)


@given(scores(), SPARSITIES)
def test_nothing_removed_scores_above_anything_kept(
    scores: dict[str, Tensor], sparsity: float
) -> None:
    found = masks(scores, sparsity)
    kept = torch.cat([scores[name][mask] for name, mask in found.items()])
    gone = torch.cat([scores[name][~mask] for name, mask in found.items()])
    if kept.numel() and gone.numel():
        assert gone.max() <= kept.min()


@given(scores(), SPARSITIES)
def test_scope_tensor_takes_the_same_share_of_each(
    scores: dict[str, Tensor], sparsity: float
) -> None:
    for name, mask in masks(scores, sparsity, scope="tensor").items():
        assert abs(int((~mask).sum()) - sparsity * scores[name].numel()) <= 1.5


@given(scores(), st.floats(0, 0.5), st.floats(0.01, 0.3))
def test_every_tensor_keeps_its_minimum_and_the_rest_pays(
    scores: dict[str, Tensor], sparsity: float, minimum: float
) -> None:
    total = sum(score.numel() for score in scores.values())
    try:
        found = masks(scores, sparsity, minimum_kept=minimum)
    except PruningError:
        least = sum(max(1, minimum * score.numel()) for score in scores.values())
        assert round(sparsity * total) > total - least - len(scores)
        return
    assert removed(found) == round(sparsity * total)
    assert all(int(mask.sum()) >= max(1, minimum * mask.numel() - 1e-9) for mask in found.values())


def test_a_tensor_of_low_scores_is_not_emptied() -> None:
    scores = {"low": torch.zeros(100), "high": torch.arange(1.0, 101.0)}
    found = masks(scores, 0.5, minimum_kept=0.01)
    assert int(found["low"].sum()) == 1
    assert (~found["high"]).nonzero().flatten().tolist() == [0]


@given(scores(), st.floats(0.05, 0.9), SCOPES, st.sampled_from([0.0, 0.1, 0.3]))
def test_what_scores_did_not_decide_is_counted(
    scores: dict[str, Tensor], sparsity: float, scope: str, minimum: float
) -> None:
    how: dict[str, Any] = {"scope": scope, "minimum_kept": minimum, "seed": 0}
    try:
        found = masks_from_scores(scores, sparsity, **how)
    except PruningError:
        return
    counted = find_not_by_score(scores, found, sparsity, **how)
    free = masks(scores, sparsity, scope=scope)
    assert counted.minimum == sum(int((mask & ~free[n]).sum()) for n, mask in found.items())
    least = {n: max(1, ceil(minimum * m.numel())) if minimum else 0 for n, m in found.items()}
    assert counted.at_minimum == tuple(n for n, m in found.items() if m.sum() <= least[n])
    gone = {n: set(scores[n][~mask].tolist()) for n, mask in found.items()}
    anywhere = set().union(*gone.values())
    assert counted.ties == sum(
        value in (gone[n] if scope == "tensor" else anywhere)
        for n, mask in found.items()
        for value in scores[n][mask].tolist()
    )


def test_ties_are_broken_by_the_seed_and_not_by_position() -> None:
    scores = {"t": torch.zeros(1000)}
    first, again, other = (masks(scores, 0.5, seed=seed)["t"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 150 < int(first[:500].sum()) < 350


def test_a_budget_that_contradicts_the_minimum_is_refused() -> None:
    with pytest.raises(PruningError, match="lower one of the two"):
        masks({"t": torch.rand(100)}, 0.99, minimum_kept=0.05)


def test_a_share_that_gives_a_whole_number_keeps_no_weight_more() -> None:
    """In floating point 0.07 times 100 is 7.000000000000001."""
    kept = masks({"t": torch.rand(100)}, 0.93, minimum_kept=0.07)
    assert int(kept["t"].sum()) == 7
