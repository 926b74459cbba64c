"""`search=asha`: find the best point of a grid by asynchronous successive halving (ASHA).

Points are compared on the selection split, a held-out part of the training data. Optuna decides
which point is stopped, and when. Every score reported to Optuna is also stored in one file, so
that a killed search replays them, reaches the same decisions, and resumes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sparsead.config.search import SearchSpec
from sparsead.errors import ConfigError, SparseadError, TrainingStopped
from sparsead.runs.files import read_json, write_atomically
from sparsead.runs.interrupt import Watch
from sparsead.runs.record import RunRecord, discard, find_record
from sparsead.runs.request import RunRequest

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


class Train(Protocol):
    """A function that trains and records one run, unless the watch stops it early."""

    def __call__(self, request: RunRequest, watch: Watch | None = None) -> RunRecord:
        """Return the run's record."""


@dataclass
class Trial:
    """One point of the grid and how it scored.

    Attributes:
        learning_rate: the point's learning rate.
        epochs: the point's number of epochs.
        batch_size: the point's batch size.
        identity: identity of the point's run.
        scores: scores on the selection split, one per trained epoch; larger is better.
        state: finished, stopped (after the last epoch in `scores`) or failed.
        error: the reason of a failure, else None.
    """

    learning_rate: float
    epochs: int
    batch_size: int
    identity: str
    scores: list[float] = field(default_factory=list)
    state: str = "stopped"
    error: str | None = None

    @classmethod
    def of(cls, run: RunRequest) -> Trial:
        """Return the trial of a run that has not been trained yet."""
        point = run.spec.protocol
        return cls(point.learning_rate, point.epochs, point.batch_size, run.identity)

    def __str__(self) -> str:
        reached = f" after epoch {len(self.scores)} at {self.scores[-1]:.4f}" if self.scores else ""
        point = f"learning rate {self.learning_rate:g}, {self.epochs} epochs, {self.batch_size}"
        return f"{point} a batch: {self.error or self.state + reached}"


def search(request: RunRequest, space: SearchSpec, train: Train) -> RunRecord:
    """Train the points of the grid, and return the record of the best one that finishes.

    Args:
        request: the run; the search replaces its learning rate, epochs and batch size.
        space: the search space.
        train: trains and records a run; a watch may stop it after any epoch.

    Returns:
        The record of the chosen point, the only one that is scored on the validation split.

    Raises:
        ConfigError: no selection split is held out, or every point failed.
        SparseadError: an error that the user can fix and that would fail every point.
    """
    if not request.spec.protocol.selection:
        raise ConfigError(
            "protocol.selection=0: search=asha compares points on a selection split, a held-out "
            "part of the training data; set protocol.selection=0.1"
        )
    runs = _list_runs(request, space)
    file = _file(request, space, runs)
    known = {values["identity"]: Trial(**values) for values in read_json(file).get("trials", [])}
    study = _study(space)
    tried: list[Trial] = []
    for number, run in enumerate(runs, 1):
        trial = known.get(run.identity) or Trial.of(run)
        is_over = _Decision(study.ask(), trial)
        if trial.identity not in known:
            _try(run, is_over, train)
            log.info("%d of %d: %s", number, len(runs), trial)
        else:
            is_over(trial.scores)  # replayed, so that Optuna compares later points with this one
        tried.append(trial)
        _write(file, space, tried)
        _keep_best(runs, tried)
    best = _best(tried)
    if best is None:
        raise ConfigError(f"search=asha: no point finished; the first one: {tried[0]}")
    chosen = runs[tried.index(best)]
    record = find_record(chosen.folder) or train(chosen)
    _write(file, space, tried, record.folder.name)
    log.info("%s", file)
    return record


def _list_runs(request: RunRequest, space: SearchSpec) -> list[RunRequest]:
    """Return one run for each point of the grid, shuffled by the run's seed."""
    spec = request.spec
    runs = [
        replace(request, spec=replace(spec, protocol=point.applied(spec.protocol)))
        for point in space.points
    ]
    random.Random(spec.seed).shuffle(runs)
    return runs


class _Decision:
    """The `Watch` of one trial: it reports scores to Optuna, and tells whether to stop training."""

    def __init__(self, optuna_trial: optuna.Trial, trial: Trial) -> None:
        self._optuna_trial = optuna_trial
        self.trial = trial
        self._told = 0

    def __call__(self, scores: Sequence[float]) -> bool:
        """Tell whether to stop after the last epoch in `scores`; called by `training.stopping`."""
        trial = self.trial
        for epoch in range(self._told + 1, len(scores) + 1):
            self._told = epoch
            self._optuna_trial.report(scores[epoch - 1], epoch)
            trial.scores = list(scores[:epoch])
            if self._optuna_trial.should_prune():
                return True
        finished = len(trial.scores) == trial.epochs
        trial.state = "finished" if finished else trial.state
        return finished


def _study(space: SearchSpec) -> optuna.Study:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("search=asha: needs Optuna: pip install 'sparsead[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(space.first_rung, space.reduction)
    return optuna.create_study(direction="maximize", pruner=pruner)


def _try(run: RunRequest, is_over: _Decision, train: Train) -> None:
    """Train a point until it finishes or is stopped; its checkpoint stays, to resume from."""
    try:
        train(run, is_over)
    except TrainingStopped:
        return
    except SparseadError:
        raise
    except Exception as error:  # one point can fail alone: its batch may be too large for this GPU
        run.record_failure(error)
        is_over.trial.state, is_over.trial.error = "failed", f"{type(error).__name__}: {error}"


def _best(tried: Sequence[Trial]) -> Trial | None:
    """Return the finished trial with the best last score, the first of equals; NaN ranks last."""
    finished = [trial for trial in tried if trial.state == "finished"]
    return max(finished, key=lambda t: (t.scores[-1] == t.scores[-1], t.scores[-1]), default=None)


def _keep_best(runs: Sequence[RunRequest], tried: Sequence[Trial]) -> None:
    """Remove the checkpoints of all points but the best, to save disk space."""
    best = _best(tried)
    for run, trial in zip(runs, tried, strict=False):
        if trial is not best:
            discard(run.folder)


def _file(request: RunRequest, space: SearchSpec, runs: Sequence[RunRequest]) -> Path:
    asked = [space.first_rung, space.reduction, *(run.identity for run in runs)]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    name = f"{request.folder.name.rpartition('_')[0]}_{digest}.json"
    return request.outputs / "search" / name


def _write(
    file: Path, space: SearchSpec, tried: Sequence[Trial], chosen: str | None = None
) -> None:
    content = {
        "space": asdict(space),
        "chosen": chosen,
        "trials": [asdict(trial) for trial in tried],
    }
    write_atomically(file, json.dumps(content, indent=2) + "\n")
