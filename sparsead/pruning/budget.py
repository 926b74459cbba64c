"""From scores and a budget to masks with exact counts, even if scores are tied."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sparsead.errors import PruningError
from sparsead.pruning.contract import Scores
from sparsead.seeding import make_generator

MINIMUM_KEPT = 0.01


def masks_from_scores(
    scores: Scores, sparsity: float, *, scope: str, minimum_kept: float, seed: int
) -> dict[str, Tensor]:
    """Keep all but the round(sparsity · N) lowest of the N scores.

    The order is (score, seeded random key), so that ties are broken by the seed and not by
    position, and a higher sparsity removes a superset of what a lower one removes.

    Args:
        scores: one tensor of scores per prunable tensor.
        sparsity: share of all the weights to remove, 0 <= sparsity < 1.
        scope: "global" compares scores across tensors; "tensor" compares ranks within each
            tensor, so that every tensor loses the same share, to within one weight.
        minimum_kept: share of each tensor that is always kept, at least one weight; the next
            lowest scores elsewhere are then removed instead. 0 disables the minimum.
        seed: breaks ties.

    Returns:
        Boolean masks of the scores' shapes, on the CPU, True where the weight is kept.

    Raises:
        PruningError: the sparsity cannot be reached with this minimum.
    """
    flat = {name: score.detach().flatten().double().cpu() for name, score in scores.items()}
    keys = {
        name: torch.rand(score.numel(), generator=make_generator(seed, "ties", name))
        for name, score in flat.items()
    }
    if scope == "tensor":
        flat = {name: _percentiles(score, keys[name]) for name, score in flat.items()}
    removable = {
        name: _lowest(score, keys[name], score.numel() - _minimum(score.numel(), minimum_kept))
        for name, score in flat.items()
    }
    total = sum(score.numel() for score in flat.values())
    count = round(sparsity * total)
    available = sum(int(mask.sum()) for mask in removable.values())
    if count > available:
        raise PruningError(
            f"sparsity.ratio={sparsity:g}: removes {count} of {total} weights, but each tensor "
            f"keeps at least {minimum_kept:.0%}, which leaves {available}; lower one of the two"
        )
    removed = _lowest_of_all(flat, keys, removable, count)
    return {name: ~removed[name].reshape(scores[name].shape) for name in scores}


def _minimum(size: int, share: float) -> int:
    return max(1, math.ceil(share * size)) if share > 0 else 0


def ranks(values: Tensor, keys: Tensor) -> Tensor:
    """Return the rank of each value, from 1, in the order of (value, key), both of shape (n,)."""
    by_key = torch.argsort(keys, stable=True)
    order = by_key[torch.argsort(values[by_key], stable=True)]
    places = torch.empty_like(values)
    places[order] = torch.arange(1, len(values) + 1, dtype=values.dtype)
    return places


def _percentiles(score: Tensor, key: Tensor) -> Tensor:
    """Replace each score by its rank, scaled to (0, 1)."""
    return (ranks(score, key) - 0.5) / score.numel()


def _lowest(score: Tensor, key: Tensor, count: int) -> Tensor:
    """Mark the `count` lowest by (score, key, position) without sorting them all."""
    if count == 0:
        return torch.zeros_like(score, dtype=torch.bool)
    threshold = torch.kthvalue(score, count).values
    marked = score < threshold
    ties = (score == threshold).nonzero().squeeze(1)
    by_key = ties[torch.argsort(key[ties], stable=True)]
    marked[by_key[: count - int(marked.sum())]] = True
    return marked


def _lowest_of_all(
    scores: Mapping[str, Tensor],
    keys: Mapping[str, Tensor],
    candidates: Mapping[str, Tensor],
    count: int,
) -> dict[str, Tensor]:
    names = list(scores)
    chosen = torch.cat([candidates[name] for name in names])
    lowest = _lowest(
        torch.cat([scores[name] for name in names])[chosen],
        torch.cat([keys[name] for name in names])[chosen],
        count,
    )
    removed = torch.zeros_like(chosen)
    removed[chosen] = lowest
    sizes = [scores[name].numel() for name in names]
    return dict(zip(names, removed.split(sizes), strict=True))
