"""Whole units, and the criterion that units and N:M patterns are ranked by."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from pruning_cases import bottlenecks, parameter_names, scoring
from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.contract import Scores
from sparsead.pruning.nm import nm
from sparsead.pruning.prune import prune
from sparsead.pruning.units import units


def count_kept(
    masks: Mapping[str, Tensor], rows: str = "down", columns: str = "up"
) -> list[tuple[int, int]]:
    """Return (kept weights, all weights) of every unit."""
    found: list[tuple[int, int]] = []
    for name, mask in masks.items():
        if f".{rows}." in name:
            other = masks[name.replace(rows, columns)]
            size = mask.shape[1] + other.shape[0]
            found += [(kept, size) for kept in (mask.sum(1) + other.sum(0)).tolist()]
    return found


@pytest.mark.parametrize(("rows", "columns"), [("down", "up"), ("lora_A", "lora_B")])
@pytest.mark.parametrize("sparsity", [0.2, 0.37, 0.5, 0.8])
@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_units_are_removed_whole_but_for_one(
    rows: str, columns: str, sparsity: float, criterion: str
) -> None:
    model = bottlenecks(rows, columns)
    masks = prune(
        model,
        tensors=parameter_names(model),
        sparsity=sparsity,
        pruner="units",
        criterion=criterion,
        minimum_kept=0,
    )
    assert masks.removed == round(sparsity * masks.total)
    partly = [kept for kept, size in count_kept(masks, rows, columns) if 0 < kept < size]
    assert len(partly) <= 1


def prune_by_magnitude(
    model: nn.Module, sparsity: float, scope: str = "global"
) -> list[tuple[int, int]]:
    """Prune units by magnitude; return (kept weights, all weights) of every unit."""
    masks = prune(
        model,
        tensors=parameter_names(model),
        sparsity=sparsity,
        pruner="units",
        criterion="magnitude",
        scope=scope,
    )
    return count_kept(masks)


def test_units_are_removed_by_their_mean_score() -> None:
    model = bottlenecks(widths=(2, 6), bottleneck=2)
    values = {"0": (1.0, 4.0), "1": (2.0, 3.0)}
    with torch.no_grad():
        for index, pair in values.items():
            down, up = (model.get_parameter(f"{index}.{side}.weight") for side in ("down", "up"))
            down.copy_(torch.tensor(pair)[:, None].expand_as(down))
            up.copy_(torch.tensor(pair)[None, :].expand_as(up))
    # Units of 4, 4, 12 and 12 weights: by the sum, the wide ones would win.
    assert [kept for kept, _ in prune_by_magnitude(model, 0.5)] == [0, 4, 0, 12]


def test_units_of_equal_scores_are_still_removed_one_by_one() -> None:
    model = bottlenecks()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    assert sum(0 < kept < size for kept, size in prune_by_magnitude(model, 0.45)) == 1


@pytest.mark.parametrize("scope", ["global", "tensor"])
def test_both_sides_of_a_unit_are_removed_together(scope: str) -> None:
    found = prune_by_magnitude(bottlenecks(widths=(16, 16)), 0.5, scope)
    assert {kept for kept, _ in found} == {0, 32}


def test_tensors_without_a_sibling_are_named() -> None:
    model = nn.ModuleDict({"down": nn.Linear(4, 2), "up": nn.Linear(2, 4), "key": nn.Linear(4, 4)})
    for names, alone in (
        (["down.weight", "up.weight", "key.weight"], "hidden units as key.weight$"),
        (["down.weight"], "hidden units as down.weight$"),
        (["up.weight", "key.weight"], "hidden units as up.weight, key.weight$"),
    ):
        with pytest.raises(PruningError, match=alone):
            prune(model, tensors=names, sparsity=0.5, pruner="units", criterion="magnitude")


def test_siblings_with_other_units_are_refused() -> None:
    model = nn.ModuleDict({"down": nn.Linear(4, 2), "up": nn.Linear(3, 4)})
    with pytest.raises(PruningError, match=r"2 rows but up\.weight has 3 columns"):
        prune(
            model,
            tensors=["down.weight", "up.weight"],
            sparsity=0.5,
            pruner="units",
            criterion="magnitude",
        )


@pytest.mark.parametrize(("pruner", "sparsity"), [("units", 0.4), ("nm", 0.5)])
def test_a_zero_side_is_refused_although_ranks_are_not_zero(pruner: str, sparsity: float) -> None:
    model = bottlenecks()
    nn.init.zeros_(model.get_parameter("1.up.weight"))
    with pytest.raises(PruningError, match="zero at initialisation"):
        prune(
            model,
            tensors=parameter_names(model),
            sparsity=sparsity,
            pruner=pruner,
            criterion="magnitude",
        )


@pytest.mark.parametrize("pruner", [units, nm])
def test_unknown_criterion_has_a_hint(pruner: Callable[..., Scores]) -> None:
    with pytest.raises(ConfigError, match="did you mean magnitude"):
        pruner(scoring(bottlenecks()), criterion="magnitud")
