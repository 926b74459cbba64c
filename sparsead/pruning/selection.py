"""The highest of many scores, found tensor by tensor: memory for one tensor, not for all."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsead.seeding import make_generator


def highest(scores: Mapping[str, Tensor], count: int, seed: int) -> tuple[dict[str, Tensor], int]:
    """Mark the `count` highest of all scores.

    The masks are those of `masks_from_scores` with the scope "global" and no minimum: the order is
    (score, seeded random key).

    Args:
        scores: one tensor of scores per tensor of weights.
        count: how many are marked, at least 1 and at most all.
        seed: decides which of equal scores are marked.

    Returns:
        Boolean masks of the scores' shapes, on the CPU, and the number of marked scores that equal
        one that is not.
    """
    threshold = _highest_values(scores, count).min()
    masks = {name: (_flat(s) > threshold).view(s.shape) for name, s in scores.items()}
    open_places = count - sum(int(mask.sum()) for mask in masks.values())
    ties = {name: _ties(score, threshold) for name, score in scores.items()}
    keys = torch.cat([_keys(name, scores[name].numel(), seed)[at] for name, at in ties.items()])
    marked = torch.zeros(len(keys), dtype=torch.bool)
    marked[torch.argsort(keys, stable=True)[len(keys) - open_places :]] = True
    for (name, at), chosen in zip(
        ties.items(), marked.split([len(at) for at in ties.values()]), strict=True
    ):
        masks[name].view(-1)[at[chosen]] = True
    return masks, open_places if open_places < len(keys) else 0


def _highest_values(scores: Mapping[str, Tensor], count: int) -> Tensor:
    """Return the `count` highest of all scores, in no order."""
    pool = torch.empty(0, dtype=torch.float64)
    for score in scores.values():
        pool = torch.cat([pool, _flat(score)])
        pool = pool.topk(min(count, len(pool)), sorted=False).values
    return pool


def _ties(score: Tensor, threshold: Tensor) -> Tensor:
    return (_flat(score) == threshold).nonzero().squeeze(1)


def _flat(score: Tensor) -> Tensor:
    """Return a tensor's scores in one row, in a precision that holds those of every type."""
    return score.detach().flatten().cpu().double()


def _keys(name: str, size: int, seed: int) -> Tensor:
    return torch.rand(size, generator=make_generator(seed, "ties", name))
