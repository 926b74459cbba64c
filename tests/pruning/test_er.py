from __future__ import annotations

import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsead.pruning.er import Shapes, densities, kept_counts
from sparsead.pruning.prune import prune

LENET = {"1.weight": (300, 784), "3.weight": (100, 300), "5.weight": (10, 100)}


def resnet50() -> dict[str, tuple[tuple[int, ...], int]]:
    """Return the weights' shapes and the outputs' positions of ResNet-50 (stride in the 3x3)."""
    layers: dict[str, tuple[tuple[int, ...], int]] = {"conv1": ((64, 3, 7, 7), 112)}
    width_in = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width, side = 64 * 2**stage, 56 // 2**stage
        for block in range(blocks):
            entry = side * 2 if block == 0 and stage > 0 else side
            name = f"{stage}.{block}"
            layers[f"{name}.a"] = ((width, width_in, 1, 1), entry)
            layers[f"{name}.b"] = ((width, width, 3, 3), side)
            layers[f"{name}.c"] = ((4 * width, width, 1, 1), side)
            if block == 0:
                layers[f"{name}.shortcut"] = ((4 * width, width_in, 1, 1), side)
            width_in = 4 * width
    layers["fc"] = ((1000, 2048), 1)
    return layers


# README of google-research/rigl, "Best Sparse Models": inference FLOPs, dense 8.2e9. They are
# rounded to 0.01 and count biases and ReLUs too, which shifts the share by up to 0.002.
@pytest.mark.parametrize(
    ("sparsity", "published"), [(0.8, 0.42), (0.9, 0.24), (0.95, 0.12), (0.965, 0.09)]
)
def test_erk_reproduces_the_published_flops_of_resnet50(sparsity: float, published: float) -> None:
    layers = resnet50()
    flops = {name: 2 * math.prod(shape) * side**2 for name, (shape, side) in layers.items()}
    assert sum(flops.values()) == pytest.approx(8.2e9, rel=0.01)
    shares = densities({name: shape for name, (shape, _) in layers.items()}, sparsity, kernel=True)
    share = sum(flops[name] * shares[name] for name in layers) / sum(flops.values())
    assert share == pytest.approx(published, abs=0.007)


def bisected(shapes: Shapes, sparsity: float, kernel: bool) -> dict[str, float]:
    """Solve for the densities again, by bisection on epsilon."""

    def at(epsilon: float) -> dict[str, float]:
        return {
            name: min(
                1.0,
                epsilon
                * sum(shape if kernel else shape[:2])
                / math.prod(shape[: None if kernel else 2]),
            )
            for name, shape in shapes.items()
        }

    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    total = sum(sizes.values())
    kept = total - round(sparsity * total)
    low, high = 0.0, float(max(sizes.values()))
    for _ in range(200):
        middle = (low + high) / 2
        too_many = sum(share * sizes[name] for name, share in at(middle).items()) > kept
        low, high = (low, middle) if too_many else (middle, high)
    return at(low)


shapes_lists = st.lists(
    st.lists(st.integers(1, 40), min_size=2, max_size=4).map(tuple), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(shapes_lists, st.floats(0.01, 0.99), st.booleans())
def test_densities_and_counts_meet_the_budget(
    shapes: list[tuple[int, ...]], sparsity: float, kernel: bool
) -> None:
    named = {str(index): shape for index, shape in enumerate(shapes)}
    sizes = {name: math.prod(shape) for name, shape in named.items()}
    shares = densities(named, sparsity, kernel=kernel)
    counts = kept_counts(named, sparsity, kernel=kernel)
    total = sum(sizes.values())
    assert sum(counts.values()) == total - round(sparsity * total)
    for name, size in sizes.items():
        assert 0 <= counts[name] <= size
        assert abs(counts[name] - shares[name] * size) < 1
    assert shares == pytest.approx(bisected(named, sparsity, kernel), abs=1e-9)


@pytest.mark.parametrize("sparsity", [0.3, 0.9, 0.98])
def test_lenet_by_hand(sparsity: float) -> None:
    kept = 266200 - round(sparsity * 266200)
    shares = densities(LENET, sparsity)
    # n_in + n_out: 1084, 400 and 110 weights for each unit of epsilon.
    epsilon = kept / (1084 + 400 + 110)
    if epsilon * 110 <= 1000:
        assert shares["5.weight"] == pytest.approx(epsilon * 110 / 1000)
    else:
        assert shares["5.weight"] == 1
        epsilon = (kept - 1000) / (1084 + 400)
    if epsilon * 400 > 30000:
        assert shares["3.weight"] == 1
        epsilon = (kept - 31000) / 1084
    assert shares["1.weight"] == pytest.approx(epsilon * 1084 / 235200)


def test_erk_equals_er_for_matrices() -> None:
    assert densities(LENET, 0.9, kernel=True) == densities(LENET, 0.9)
    masks = [
        prune(lenet(), tensors=list(LENET), sparsity=0.9, pruner=pruner) for pruner in ("er", "erk")
    ]
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in LENET)


def lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def test_masks_have_the_counts_and_are_nested() -> None:
    smaller = None
    for sparsity in (0.2, 0.4, 0.6, 0.8, 0.95):
        masks = prune(lenet(), tensors=list(LENET), sparsity=sparsity, pruner="er", seed=3)
        counts = kept_counts(LENET, sparsity)
        assert {name: int(mask.sum()) for name, mask in masks.items()} == counts
        if smaller is not None:
            assert all((masks[name] <= smaller[name]).all() for name in LENET)
        smaller = masks


def test_seed_decides_and_names_differ() -> None:
    names = ["0.weight", "1.weight"]
    first, again, other = (
        prune(
            nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20)),
            tensors=names,
            sparsity=0.5,
            pruner="er",
            seed=seed,
        )
        for seed in (1, 1, 2)
    )
    assert torch.equal(first[names[0]], again[names[0]])
    assert not torch.equal(first[names[0]], other[names[0]])
    assert not torch.equal(first[names[0]], first[names[1]])


@pytest.mark.parametrize(("width", "logged"), [(30, 1), (29, 0)])
def test_equal_shapes_are_uniform_and_say_so_once(
    width: int, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Sequential(nn.Linear(30, 8), nn.Linear(8, width))
    with caplog.at_level(logging.INFO, logger="sparsead.pruning.er"):
        masks = prune(model, tensors=["0.weight", "1.weight"], sparsity=0.4, pruner="er")
    assert sum("uniform" in record.message for record in caplog.records) == logged
    kept = [int(mask.sum()) for mask in masks.values()]
    assert (kept == [144, 144]) == bool(logged)
