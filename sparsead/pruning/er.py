"""Erdős–Rényi layer densities, random inside a layer (Mocanu et al., 2018; Evci et al., 2020)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from sparsead.errors import PruningError
from sparsead.pruning.contract import PRUNERS, Scores, Scoring
from sparsead.seeding import make_generator

logger = logging.getLogger(__name__)

Shapes = Mapping[str, Sequence[int]]


@PRUNERS.register("er")
def er(scoring: Scoring) -> Scores:
    """Keep a random share ε·(n_in + n_out)/(n_in·n_out) of each layer, at most all of it.

    Mocanu et al., 2018 (arXiv:1707.04780) in the form of Evci et al., 2020 (arXiv:1911.11134):
    ε is chosen so that all layers together meet the budget; larger layers become sparser. Neither
    batches nor a loss are needed. The same seed gives the same order inside a layer. With
    pruner.scope=tensor every layer loses the same share, which is random pruning.

    Returns:
        One tensor of scores per prunable tensor, of its shape: the tensor's number of kept weights
        minus the weight's random rank, so that exactly the kept weights have positive scores.
    """
    return random_at_densities(scoring, kernel=False)


def random_at_densities(scoring: Scoring, *, kernel: bool) -> Scores:
    """Return the scores of `er`, or with `kernel` those of `erk`."""
    shapes = {name: tensor.shape for name, tensor in scoring.tensors.items()}
    scalars = [name for name, shape in shapes.items() if not shape]
    if scalars:
        raise PruningError(f"{scalars[0]}: is a scalar; Erdős–Rényi densities are those of layers")
    if len(set(densities(shapes, scoring.sparsity, kernel=kernel).values())) == 1:
        logger.info("all layers have the same Erdős–Rényi density: it is uniform random pruning")
    counts = kept_counts(shapes, scoring.sparsity, kernel=kernel)
    return {
        name: _random_scores(tensor, counts[name], make_generator(scoring.seed, "er", name))
        for name, tensor in scoring.tensors.items()
    }


def densities(shapes: Shapes, sparsity: float, *, kernel: bool = False) -> dict[str, float]:
    """Return the share of each layer that is kept, before it is rounded to whole weights.

    Args:
        shapes: of the weights, (n_out, n_in, …) or (n_in, n_out, …).
        sparsity: share of all the weights to remove.
        kernel: count the further dimensions like n_in and n_out: (Σ dims)/(Π dims), which is
            ERK. For matrices the two coincide.
    """
    kept = _kept(shapes, sparsity, kernel)
    return {name: float(kept[name] / math.prod(shape)) for name, shape in shapes.items()}


def kept_counts(shapes: Shapes, sparsity: float, *, kernel: bool = False) -> dict[str, int]:
    """Return the number of weights kept in each layer, N - round(sparsity · N) in all.

    Fractional counts are rounded by the largest-remainder method; of equal remainders the earlier
    layer is rounded up first. The arguments are those of `densities`.
    """
    exact = _kept(shapes, sparsity, kernel)
    counts = {name: math.floor(count) for name, count in exact.items()}
    missing = sum(exact.values()) - sum(counts.values())
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: int(missing)]:
        counts[name] += 1
    return counts


def _kept(shapes: Shapes, sparsity: float, kernel: bool) -> dict[str, Fraction]:
    """Solve Σ_l min(ε·share_l, size_l) = kept weights for ε; return the terms of the sum.

    share_l = size_l·(n_in + n_out)/(n_in·n_out) is an integer, so the solution is exact. A layer
    that is kept whole stays whole when ε is solved again for the others, because ε only grows.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    shares = {name: _share(shape, kernel) for name, shape in shapes.items()}
    total = sum(sizes.values())
    budget = total - round(sparsity * total)
    open_layers = set(shapes)
    while open_layers:
        filled = sum(sizes[name] for name in shapes if name not in open_layers)
        epsilon = Fraction(budget - filled, sum(shares[name] for name in open_layers))
        full = {name for name in open_layers if epsilon * shares[name] > sizes[name]}
        if not full:
            break
        open_layers -= full
    return {
        name: epsilon * shares[name] if name in open_layers else Fraction(sizes[name])
        for name in shapes
    }


def _share(shape: Sequence[int], kernel: bool) -> int:
    if kernel:
        return sum(shape)
    return sum(shape[:2]) * math.prod(shape[2:])


def _random_scores(tensor: Tensor, count: int, draws: torch.Generator) -> Tensor:
    ranks = torch.randperm(tensor.numel(), generator=draws)
    # The offset of half a rank avoids scores of 0: `check_scores` refuses scores that are all 0.
    return (count - 0.5 - ranks.double()).reshape(tensor.shape)
