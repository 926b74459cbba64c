import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.contract import Scoring
from sparsead.pruning.nm import nm
from sparsead.pruning.prune import prune
from sparsead.pruning.units import units


def adapters(rows="down", columns="up", widths=(12, 20), bottleneck=8):
    torch.manual_seed(0)
    return nn.ModuleList(
        nn.ModuleDict(
            {
                rows: nn.Linear(width, bottleneck, bias=False),
                columns: nn.Linear(bottleneck, width, bias=False),
            }
        )
        for width in widths
    )


def names_of(model):
    return [name for name, _ in model.named_parameters()]


def kept_by_unit(masks, rows="down", columns="up"):
    """Return (kept, size) of every unit."""
    found = []
    for name, mask in masks.items():
        if f".{rows}." in name:
            other = masks[name.replace(rows, columns)]
            sizes = mask.shape[1] + other.shape[0]
            found += [(kept, sizes) for kept in (mask.sum(1) + other.sum(0)).tolist()]
    return found


@pytest.mark.parametrize(("rows", "columns"), [("down", "up"), ("lora_A", "lora_B")])
@pytest.mark.parametrize("sparsity", [0.2, 0.37, 0.5, 0.8])
@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_units_fall_whole_but_for_one(rows, columns, sparsity, criterion):
    model = adapters(rows, columns)
    masks = prune(
        model,
        tensors=names_of(model),
        sparsity=sparsity,
        pruner="units",
        criterion=criterion,
        minimum_kept=0,
    )
    assert masks.removed == round(sparsity * masks.total)
    partly = [kept for kept, size in kept_by_unit(masks, rows, columns) if 0 < kept < size]
    assert len(partly) <= 1


def test_units_fall_by_their_mean_score():
    model = adapters(widths=(2, 6), bottleneck=2)
    values = {"0": (1.0, 4.0), "1": (2.0, 3.0)}
    with torch.no_grad():
        for index, pair in values.items():
            down, up = model[int(index)]["down"].weight, model[int(index)]["up"].weight
            down.copy_(torch.tensor(pair)[:, None].expand_as(down))
            up.copy_(torch.tensor(pair)[None, :].expand_as(up))
    # Units of 4, 4, 12 and 12 weights: by the sum, the wide ones would win.
    masks = prune(
        model, tensors=names_of(model), sparsity=0.5, pruner="units", criterion="magnitude"
    )
    assert [kept for kept, _ in kept_by_unit(masks)] == [0, 4, 0, 12]


def test_equal_units_still_fall_one_by_one():
    model = adapters()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    masks = prune(
        model, tensors=names_of(model), sparsity=0.45, pruner="units", criterion="magnitude"
    )
    assert sum(0 < kept < size for kept, size in kept_by_unit(masks)) == 1


@pytest.mark.parametrize("scope", ["global", "tensor"])
def test_both_sides_of_a_unit_fall_together(scope):
    model = adapters(widths=(16, 16))
    masks = prune(
        model,
        tensors=names_of(model),
        sparsity=0.5,
        pruner="units",
        criterion="magnitude",
        scope=scope,
    )
    assert {kept for kept, _ in kept_by_unit(masks)} == {0, 32}


def test_tensors_without_a_sibling_are_named():
    model = nn.ModuleDict({"down": nn.Linear(4, 2), "up": nn.Linear(2, 4), "key": nn.Linear(4, 4)})
    for names, alone in (
        (["down.weight", "up.weight", "key.weight"], "of key.weight$"),
        (["down.weight"], "of down.weight$"),
        (["up.weight", "key.weight"], "of up.weight, key.weight$"),
    ):
        with pytest.raises(PruningError, match=alone):
            prune(model, tensors=names, sparsity=0.5, pruner="units", criterion="magnitude")


def test_siblings_with_other_units_are_refused():
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
def test_a_zero_side_is_refused_although_ranks_are_not_zero(pruner, sparsity):
    model = adapters()
    nn.init.zeros_(model[1]["up"].weight)
    with pytest.raises(PruningError, match="zero at initialisation"):
        prune(
            model, tensors=names_of(model), sparsity=sparsity, pruner=pruner, criterion="magnitude"
        )


@pytest.mark.parametrize("pruner", [units, nm])
def test_unknown_criterion_has_a_hint(pruner):
    model = adapters()
    task = Scoring(model, dict(model.named_parameters()), [], None, 0.5, 0)
    with pytest.raises(ConfigError, match="did you mean magnitude"):
        pruner(task, criterion="magnitud")


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.sampled_from([(1, 2), (1, 4), (2, 4), (3, 4), (4, 8), (1, 3), (2, 3)]), st.booleans())
def test_every_group_keeps_its_n_best(pattern, by_tensor):
    n, m = pattern
    model = adapters(widths=(m * 3, m * 5), bottleneck=m * 2)
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    masks = prune(
        model,
        tensors=names_of(model),
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


def test_ties_in_a_group_are_broken_by_the_seed():
    model = adapters()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    first, again, other = (
        nm(Scoring(model, dict(model.named_parameters()), [], None, 0.5, seed))
        for seed in (1, 1, 2)
    )
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
def test_bad_patterns_are_refused(sparsity, options, error, message):
    model = adapters()
    with pytest.raises(error, match=message):
        prune(model, tensors=names_of(model), sparsity=sparsity, pruner="nm", **options)
