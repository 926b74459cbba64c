"""No pruning: the dense adapter."""

from __future__ import annotations

from sparsead.errors import PruningError
from sparsead.pruning.contract import PRUNERS, Scores, Scoring


@PRUNERS.register("none")
def none(scoring: Scoring) -> Scores:
    """Refuse to score: with sparsity 0, the only one that goes with it, nothing is scored.

    Raises:
        PruningError: always.
    """
    raise PruningError(f"sparsity={scoring.sparsity:g}: pruner=none removes nothing")
