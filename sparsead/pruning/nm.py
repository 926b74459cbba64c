"""N:M sparsity: the n best of every m consecutive inputs (Mishra et al., 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparsead.config.values.pruners import check_groups
from sparsead.errors import PruningError
from sparsead.pruning.contract import PRUNERS, Scores, Scoring
from sparsead.pruning.units import criterion_scores
from sparsead.seeding import make_generator


@PRUNERS.register("nm")
def nm(scoring: Scoring, *, n: int = 2, m: int = 4, criterion: str = "magnitude") -> Scores:
    """Score each weight +1 if it is among the n best of its group of m, else -1.

    A group is m consecutive inputs of one row of a weight (…, n_in); sparse tensor cores support
    the pattern 2:4 (Mishra et al., 2021, arXiv:2104.08378; Zhou et al., 2021,
    arXiv:2102.04010). Ties inside a group are broken by the seed.

    Args:
        scoring: what is scored; its sparsity has to be 1 - n/m.
        n: weights kept of each group.
        m: size of the groups.
        criterion: a registered pruner, or a dotted path, whose scores are compared in a group.

    Returns:
        One tensor of scores per prunable tensor, of its shape.

    Raises:
        ConfigError: not 1 <= n < m, or there is no such criterion.
        PruningError: the sparsity is not 1 - n/m, rows are not divisible by m, or the criterion's
            scores are not finite or are all 0.
    """
    check_groups({"n": n, "m": m})
    if not math.isclose(scoring.sparsity, 1 - n / m, abs_tol=1e-9):
        raise PruningError(
            f"sparsity.ratio={scoring.sparsity:g}: {n} of every {m} weights stay, so that it has "
            f"to be exactly 1 - {n}/{m} = {1 - n / m:g}"
        )
    ragged = [
        name for name, tensor in scoring.tensors.items() if not tensor.shape or tensor.shape[-1] % m
    ]
    if ragged:
        raise PruningError(f"pruner.m={m}: does not divide the rows of {', '.join(ragged)}")
    return {
        name: _pattern(score, n, m, make_generator(scoring.seed, "nm", name))
        for name, score in criterion_scores(scoring, criterion).items()
    }


def _pattern(score: Tensor, n: int, m: int, draws: torch.Generator) -> Tensor:
    groups = score.detach().cpu().reshape(-1, m)
    by_key = torch.rand(groups.shape, generator=draws).argsort(dim=1)
    order = by_key.gather(1, groups.gather(1, by_key).argsort(dim=1, stable=True))
    pattern = torch.full(groups.shape, -1.0)
    pattern.scatter_(1, order[:, m - n :], 1.0)
    return pattern.reshape(score.shape)
