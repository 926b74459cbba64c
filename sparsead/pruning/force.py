"""FORCE: SNIP in rounds, each on the weights that the last one kept (de Jorge et al., 2021)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sparsead.config.values.pruners import check_rounds
from sparsead.pruning.budget import masks_from_scores
from sparsead.pruning.contract import PRUNERS, Scores, Scoring
from sparsead.pruning.scoring import check_finite, keep_only

Masked = Mapping[str, Tensor]


@PRUNERS.register("force")
def force(scoring: Scoring, *, rounds: int = 10) -> Scores:
    """Score each weight z = |w ⊙ ∂L/∂w̄| at the masked weights w̄ = w ⊙ m of the round before.

    de Jorge et al., 2021 (arXiv:2006.09081, FORCE with the exponential schedule). The
    score uses the original w, so a removed weight can come back. One round is SNIP.

    Args:
        scoring: what is scored; its weights are restored bit for bit.
        rounds: number of times that the gradient is computed.

    Returns:
        One tensor of scores per prunable tensor, of its shape: those of the last round.

    Raises:
        ConfigError: fewer than one round.
        PruningError: there are no batches.
    """

    def sensitivity(masks: Masked) -> Scores:
        with keep_only(scoring.tensors, masks):
            gradients = scoring.mean_gradients()
        return {
            name: (tensor.detach() * gradients[name]).abs()
            for name, tensor in scoring.tensors.items()
        }

    return score_in_rounds(scoring, rounds, sensitivity)


def score_in_rounds(scoring: Scoring, rounds: int, score: Callable[[Masked], Scores]) -> Scores:
    """Score and mask in turn, from dense to the target; return the last round's scores.

    After round t of T the share (1 - sparsity)^(t/T) of the weights is kept, those with the highest
    scores: each round removes the same share of the weights that the last one kept. Scope and
    minimum are those of the final mask. If they applied to that alone, it would have to keep
    weights that an earlier round had removed, and that may have no score.

    Args:
        scoring: the weights, the sparsity, the scope, the minimum, and the seed that breaks ties.
        rounds: T, at least 1.
        score: scores the weights under boolean masks of their shapes, True where kept.

    Raises:
        ConfigError: fewer than one round.
        PruningError: the scores of a round are not finite.
    """
    check_rounds({"rounds": rounds})
    density = 1 - scoring.sparsity
    dense = {name: torch.ones_like(t, dtype=torch.bool) for name, t in scoring.tensors.items()}
    scores = score(dense)
    for done in range(1, rounds):
        check_finite(scores)
        masks = masks_from_scores(
            scores,
            1 - density ** (done / rounds),
            scope=scoring.scope,
            minimum_kept=scoring.minimum_kept,
            seed=scoring.seed,
        )
        scores = score({name: mask.to(scores[name].device) for name, mask in masks.items()})
    return scores
