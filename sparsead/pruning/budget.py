"""From scores and a budget to masks with exact counts, even if scores are tied."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsead.errors import PruningError
from sparsead.pruning.contract import Scores
from sparsead.seeding import make_generator


@dataclass(frozen=True)
class NotByScore:
    """How much of a mask was not decided by the scores.

    Attributes:
        minimum: number of weights that are kept only because of the minimum per tensor.
        ties: number of kept weights whose score is that of a removed weight with which they
            competed; a random draw decided between them.
        at_minimum: names of the tensors that keep no more than the minimum; without a minimum,
            those that keep nothing.
    """

    minimum: int = 0
    ties: int = 0
    at_minimum: tuple[str, ...] = ()


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
    count = count_weights_to_remove(
        (score.numel() for score in flat.values()), sparsity, minimum_kept
    )
    removed = _lowest_of_all(flat, keys, removable, count)
    return {name: ~removed[name].reshape(scores[name].shape) for name in scores}


def count_weights_to_remove(sizes: Iterable[int], sparsity: float, minimum_kept: float) -> int:
    """Return the number of weights to remove, round(sparsity · N).

    Args:
        sizes: number of weights of each tensor, N in all.
        sparsity: share of all the weights to remove.
        minimum_kept: share of each tensor that is always kept.

    Raises:
        PruningError: the minimum leaves fewer weights than that.
    """
    sizes = list(sizes)
    total = sum(sizes)
    count = round(sparsity * total)
    available = total - sum(_minimum(size, minimum_kept) for size in sizes)
    if count > available:
        raise PruningError(
            f"sparsity.ratio={sparsity}: removes {count} of {total} weights, but each tensor "
            f"keeps at least {minimum_kept:g} of its own (pruner.minimum_kept), which leaves "
            f"{available}; lower one of the two"
        )
    return count


def find_not_by_score(
    scores: Scores,
    masks: Mapping[str, Tensor],
    sparsity: float,
    *,
    scope: str,
    minimum_kept: float,
    seed: int,
) -> NotByScore:
    """Count what the scores did not decide in masks that `masks_from_scores` returned.

    Args:
        scores: one tensor of scores per prunable tensor.
        masks: the masks that these scores and the other arguments gave.
        sparsity: share of all the weights that was removed.
        scope: "global" or "tensor".
        minimum_kept: share of each tensor that was kept in any case.
        seed: what broke the ties.
    """
    at_minimum = tuple(
        name
        for name, mask in masks.items()
        if int(mask.sum()) <= _minimum(mask.numel(), minimum_kept)
    )
    saved = 0
    if at_minimum and minimum_kept:
        free = masks_from_scores(scores, sparsity, scope=scope, minimum_kept=0, seed=seed)
        saved = sum(int((mask & ~free[name]).sum()) for name, mask in masks.items())
    compared = [[name] for name in masks] if scope == "tensor" else [list(masks)]
    ties = sum(_count_ties(scores, masks, names) for names in compared)
    return NotByScore(saved, ties, at_minimum)


def _count_ties(scores: Scores, masks: Mapping[str, Tensor], names: list[str]) -> int:
    """Return the number of kept weights of these tensors that score as much as a removed one."""
    score = torch.cat([scores[name].detach().flatten().double().cpu() for name in names])
    kept = torch.cat([masks[name].flatten().cpu() for name in names])
    removed = score[~kept]
    if not len(removed):
        return 0
    doubtful = score[kept & (score <= removed.max())]
    return int(torch.isin(doubtful, removed).sum())


def _minimum(size: int, share: float) -> int:
    product = round(share * size, 6)  # 0.07 * 100 is 7.000000000000001
    return max(1, math.ceil(product)) if share > 0 else 0


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
