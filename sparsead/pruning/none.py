"""No pruning: the dense adapter."""

from __future__ import annotations

from sparsead.errors import PruningError
from sparsead.pruning.contract import PRUNERS, Scores, Scoring


@PRUNERS.register("none")
def none(scoring: Scoring) -> Scores:
    """Always raise: `pruner=none` needs sparsity 0, and sparsity 0 never scores.

    Raises:
        PruningError: always.
    """
    raise PruningError(f"sparsity={scoring.sparsity:g}: pruner=none removes nothing")
