"""The watches of a search's trials: after which epoch the training of a point or a seed ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsead.config.search import SearchSpec
from sparsead.runs.journal import Journal
from sparsead.runs.trials import Trial

if TYPE_CHECKING:
    import optuna


class Decision:
    """The `Watch` of one trial: it writes scores to the journal, and tells whether to stop.

    A trial of a process that has died has scores already; the last of them is judged again.

    Args:
        journal: where the scores are written.
        taken: the trial in the journal.
        trial: what is said of it in the search's file; it is kept up to date.
    """

    def __init__(self, journal: Journal, taken: optuna.Trial, trial: Trial) -> None:
        self._journal = journal
        self._taken = taken
        self.trial = trial
        self._reported = journal.count_reported(taken)
        self._told = max(0, self._reported - 1)

    def __call__(self, scores: Sequence[float]) -> bool:
        """Tell whether to stop after the last epoch in `scores`; called by `training.stopping`."""
        trial = self.trial
        for epoch in range(self._told + 1, len(scores) + 1):
            self._told = epoch
            if epoch > self._reported:
                self._journal.report(self._taken, scores[epoch - 1], epoch)
            trial.scores = list(scores[:epoch])
            if self._journal.should_stop(self._taken):
                return True
        finished = len(trial.scores) == trial.epochs
        trial.state = "finished" if finished else trial.state
        return finished


class Until:
    """The `Watch` of one of a point's seeds: it stops after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self.scores: list[float] = []

    def __call__(self, scores: Sequence[float]) -> bool:
        """Tell whether to stop after the last epoch in `scores`."""
        self.scores = list(scores[: self._epochs])
        return len(scores) >= self._epochs


def list_rungs(space: SearchSpec, epochs: int) -> list[int]:
    """Return the numbers of epochs after which a point of so many epochs is judged."""
    rungs = []
    rung = space.first_rung
    while rung < epochs:
        rungs.append(rung)
        rung *= space.reduction
    return [*rungs, epochs]
