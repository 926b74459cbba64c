"""Structured pruning: whole bottleneck units are removed, by the mean score of their weights."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor

from sparsead.errors import PruningError
from sparsead.pruning.budget import ranks
from sparsead.pruning.contract import PRUNERS, Scores, Scoring
from sparsead.pruning.scoring import check_scores
from sparsead.seeding import make_generator

# Patterns of tensors with one row per unit, and the name of the tensor with the unit's column.
SIBLINGS = ((r"down(?=\.weight$)", "up"), (r"\blora_A\b", "lora_B"))


@PRUNERS.register("units")
def units(scoring: Scoring, *, criterion: str = "snip") -> Scores:
    """Score each weight by the rank of its unit, z_u = mean of the criterion over the unit.

    A unit is a row of `….down.weight` or `…lora_A…`, (r, d_in), with the same column of its
    sibling `….up.weight` or `…lora_B…`, (d_out, r): the weights that a bottleneck with one unit
    less does not have. The mean is used and not the sum, because the budget counts weights and
    units differ in size. The budget removes whole units, lowest first, and at most one unit in
    part, to meet the exact count. If the minimum kept per tensor applies, more units are removed
    in part. Li et al., 2017
    (arXiv:1608.08710) rank filters in this way by magnitude.

    Args:
        scoring: what is scored.
        criterion: a registered pruner, or a dotted path, whose scores are averaged.

    Returns:
        One tensor of scores per prunable tensor, of its shape: the unit's rank, from 1.

    Raises:
        ConfigError: there is no such criterion.
        PruningError: a tensor has no sibling, their numbers of units differ, or the criterion's
            scores are not finite or are all 0.
    """
    pairs = _pairs(scoring.tensors)
    scores = criterion_scores(scoring, criterion)
    means = [_unit_means(scores, rows, columns) for rows, columns in pairs]
    keys = [
        torch.rand(len(mean), generator=make_generator(scoring.seed, "units", rows))
        for mean, (rows, _) in zip(means, pairs, strict=True)
    ]
    places = ranks(torch.cat(means), torch.cat(keys)).split([len(mean) for mean in means])
    result: Scores = {}
    for (rows, columns), rank in zip(pairs, places, strict=True):
        result[rows] = rank[:, None].expand(scores[rows].shape)
        result[columns] = rank[None, :].expand(scores[columns].shape)
    return {name: result[name] for name in scoring.tensors}


def criterion_scores(scoring: Scoring, criterion: str) -> Scores:
    """Return another pruner's scores, checked by `check_scores`.

    Raises:
        ConfigError: there is no such pruner.
        PruningError: its scores are not finite or are all 0.
    """
    scores: Scores = PRUNERS.get(criterion)(scoring)
    check_scores(scores, dict(scoring.tensors))
    return scores


def _pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names of the tensors that share units: (rows, columns)."""
    names = list(names)
    candidates = [
        (name, re.sub(rows, columns, name))
        for name in names
        for rows, columns in SIBLINGS
        if re.search(rows, name)
    ]
    pairs = [(rows, columns) for rows, columns in candidates if columns in names]
    paired = {name for pair in pairs for name in pair}
    alone = [name for name in names if name not in paired]
    if alone:
        raise PruningError(
            f"pruner=units: no other matrix has the same hidden units as {', '.join(alone)}"
        )
    return pairs


def _unit_means(scores: Scores, rows: str, columns: str) -> Tensor:
    by_row, by_column = scores[rows].double().cpu(), scores[columns].double().cpu()
    if by_row.shape[0] != by_column.shape[1]:
        raise PruningError(
            f"pruner=units: {rows} has {by_row.shape[0]} rows but {columns} has "
            f"{by_column.shape[1]} columns, so they do not share units"
        )
    return (by_row.sum(1) + by_column.sum(0)) / (by_row.shape[1] + by_column.shape[0])
