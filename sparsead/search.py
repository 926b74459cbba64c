"""`search=asha`: the best point of a grid by successive halving, chosen on a part of train.

Optuna decides which point is stopped, and when. All that it is told is in one file, so that a
search that was killed repeats its decisions and goes on.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from omegaconf import DictConfig

from sparsead.config.schema import read_group
from sparsead.errors import ConfigError, SparseadError, TrainingStopped
from sparsead.runs.files import read_json, write_atomically
from sparsead.runs.interrupt import Watch
from sparsead.runs.record import RunRecord, discard, find_record
from sparsead.runs.request import RunRequest

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


class Train(Protocol):
    """Trains and records one run, unless the watch ends its training."""

    def __call__(self, request: RunRequest, watch: Watch | None = None) -> RunRecord:
        """Return the run's record."""


@dataclass
class SearchSpec:
    """The points, and the rungs at which they compete.

    Attributes:
        name: asha.
        learning_rate: values to try, with each of the others.
        epochs: likewise.
        batch_size: likewise.
        first_rung: number of epochs before the first decision.
        reduction: one in so many goes on; the next rung is so many times as far.
    """

    name: str
    learning_rate: list[float]
    epochs: list[int]
    batch_size: list[int]
    first_rung: int
    reduction: int

    def __post_init__(self) -> None:
        for key in ("learning_rate", "epochs", "batch_size"):
            if not getattr(self, key):
                raise ConfigError(f"search.{key}=[]: must be a list of at least one")
        for key, low in (("first_rung", 1), ("reduction", 2)):
            if getattr(self, key) < low:
                raise ConfigError(f"search.{key}={getattr(self, key)}: must be at least {low}")

    @classmethod
    def from_config(cls, config: DictConfig) -> SearchSpec:
        """Read the section `search` of a composed configuration.

        Raises:
            ConfigError: a value is of the wrong type, empty or out of range.
        """
        return read_group(config, "search", cls)

    def runs(self, request: RunRequest) -> list[RunRequest]:
        """Return the run of each point, in an order that the seed decides.

        Raises:
            ConfigError: a value is out of range.
        """
        points = itertools.product(self.learning_rate, self.epochs, self.batch_size)
        spec = request.spec
        protocols = [
            replace(spec.protocol, learning_rate=rate, epochs=epochs, batch_size=batch_size)
            for rate, epochs, batch_size in points
        ]
        runs = [replace(request, spec=replace(spec, protocol=p)) for p in protocols]
        random.Random(spec.seed).shuffle(runs)
        return runs


@dataclass
class Trial:
    """A point that was tried.

    Attributes:
        learning_rate: of the point.
        epochs: likewise.
        batch_size: likewise.
        identity: of its run.
        scores: on the part of train held out, after each epoch that was trained; larger is better.
        state: finished, stopped (behind the last of the scores) or failed.
        error: why it failed.
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
        """Return the trial of a run, before it is tried."""
        point = run.spec.protocol
        return cls(point.learning_rate, point.epochs, point.batch_size, run.identity)

    def __str__(self) -> str:
        reached = f" after epoch {len(self.scores)} at {self.scores[-1]:.4f}" if self.scores else ""
        point = f"learning rate {self.learning_rate:g}, {self.epochs} epochs, {self.batch_size}"
        return f"{point} a batch: {self.error or self.state + reached}"


def search(request: RunRequest, space: SearchSpec, train: Train) -> RunRecord:
    """Try the points, choose the best of those that finish, and do its run.

    Args:
        request: the run but for the three values searched.
        space: the points.
        train: trains and records a run; a watch may end it behind any epoch.

    Returns:
        The record of the chosen point; nothing but it is scored on the task's own dev set.

    Raises:
        ConfigError: nothing of train is held out to choose on, or every point failed.
        SparseadError: something that the user can mend, and that would fail every point.
    """
    if not request.spec.protocol.selection:
        raise ConfigError("protocol.selection=0: search=asha chooses on a part of train; say 0.1")
    runs = space.runs(request)
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
            is_over(trial.scores)  # Optuna compares the others with it
        tried.append(trial)
        _write(file, space, tried)
        _keep_best(runs, tried)
    best = _best(tried)
    if best is None:
        raise ConfigError(f"search=asha: no point finished; the first: {tried[0]}")
    chosen = runs[tried.index(best)]
    record = find_record(chosen.folder) or train(chosen)
    _write(file, space, tried, record.folder.name)
    log.info("%s", file)
    return record


class _Decision:
    """Reports the scores of a trial to Optuna, and tells whether to train it any further."""

    def __init__(self, reported: optuna.Trial, trial: Trial) -> None:
        self._reported = reported
        self.trial = trial
        self._told = 0

    def __call__(self, scores: Sequence[float]) -> bool:
        """Tell whether to stop behind the last of the scores; see `sparsead.training.stopping`."""
        trial = self.trial
        for epoch in range(self._told + 1, len(scores) + 1):
            self._told = epoch
            self._reported.report(scores[epoch - 1], epoch)
            trial.scores = list(scores[:epoch])
            if self._reported.should_prune():
                return True
        finished = len(trial.scores) == trial.epochs
        trial.state = "finished" if finished else trial.state
        return finished


def _study(space: SearchSpec) -> optuna.Study:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("search=asha: needs pip install 'sparsead[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(space.first_rung, space.reduction)
    return optuna.create_study(direction="maximize", pruner=pruner)


def _try(run: RunRequest, is_over: _Decision, train: Train) -> None:
    """Train a point for as long as it is worth it; it stays to go on from."""
    try:
        train(run, is_over)
    except TrainingStopped:
        return
    except SparseadError:
        raise
    except Exception as error:  # such as a batch that is too large for this GPU
        run.record_failure(error)
        is_over.trial.state, is_over.trial.error = "failed", f"{type(error).__name__}: {error}"


def _best(tried: Sequence[Trial]) -> Trial | None:
    """Return the first of the best of those that finished; nan is the worst."""
    finished = [trial for trial in tried if trial.state == "finished"]
    return max(finished, key=lambda t: (t.scores[-1] == t.scores[-1], t.scores[-1]), default=None)


def _keep_best(runs: Sequence[RunRequest], tried: Sequence[Trial]) -> None:
    """Remove the checkpoints of the points that are out."""
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
