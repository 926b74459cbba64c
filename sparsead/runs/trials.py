"""The file of a search by successive halving: which points were tried, and which one was chosen.

A point is tried by one run or, in a table, by one run for each seed.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import FiniteFloat
from typing_extensions import TypedDict

from sparsead.config.search import SearchSpec
from sparsead.errors import StorageError
from sparsead.errors.display import pluralize
from sparsead.runs.checked import find_checksummed, write_checksummed
from sparsead.runs.record import RunRecord
from sparsead.runs.request import RunRequest
from sparsead.runs.result import Hash


@dataclass
class Trial:
    """One point of the grid and how it scored.

    Attributes:
        learning_rate: the point's learning rate.
        epochs: the point's number of epochs.
        batch_size: the point's batch size.
        identity: identity of the point's run; with several seeds, of the run of the first seed.
        scores: scores on the selection split, one per trained epoch; with several seeds, their
            means. Larger is better.
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

    def agrees_with(self, other: Trial) -> bool:
        """Tell whether a search's file would say the same of both; a score may be NaN."""
        return _to_plain(self) == _to_plain(other)

    def __str__(self) -> str:
        reached = (
            f" after epoch {len(self.scores)} at {self.scores[-1]:z.4f}" if self.scores else ""
        )
        point = f"learning rate {self.learning_rate:g}, {pluralize(self.epochs, 'epoch')}"
        return f"{point}, {self.batch_size} a batch: {self.error or self.state + reached}"


def list_points(requests: Sequence[RunRequest], space: SearchSpec) -> list[list[RunRequest]]:
    """Return for each point of the grid its runs, shuffled by the seed of the first run.

    Args:
        requests: the same run with one or several seeds, at any point.
        space: the grid.
    """
    points = [
        [
            replace(each, spec=replace(each.spec, protocol=point.applied(each.spec.protocol)))
            for each in requests
        ]
        for point in space.points
    ]
    random.Random(requests[0].spec.seed).shuffle(points)
    return points


def trials_file(space: SearchSpec, points: Sequence[Sequence[RunRequest]]) -> Path:
    """Return the file of a search over these runs, which it is named after."""
    runs = sorted((run for each in points for run in each), key=lambda run: run.identity)
    asked = [space.first_rung, space.reduction, *(run.identity for run in runs)]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    first = min(points[0], key=lambda run: run.spec.seed)
    name = f"{first.folder.name.rpartition('_')[0]}_{digest}.json"
    return first.outputs / "search" / name


def read_trials(file: Path) -> tuple[list[Trial], str | None]:
    """Return the trials in a search's file, and the name of the chosen run's folder, if any.

    A missing or altered file has no trials: the search then begins anew.
    """
    found = find_checksummed(file, _StoredSearch)
    if found is None:
        return [], None
    return [_from_plain(trial) for trial in found["trials"]], found["chosen"]


def write_trials(
    file: Path, space: SearchSpec, trials: Sequence[Trial], chosen: str | None = None
) -> None:
    """Write a search's file; `chosen` is the name of the folder of the chosen (first) run.

    Raises:
        StorageError: the file cannot be written.
    """
    content: dict[str, Any] = {
        "space": asdict(space),
        "chosen": chosen,
        "trials": [_to_plain(trial) for trial in trials],
    }
    try:
        write_checksummed(file, content, indent=2)
    except OSError as error:
        raise build_write_error(file, error) from error


def build_write_error(file: Path, error: OSError) -> StorageError:
    """Return the error for a file of a search, such as its journal, that cannot be written."""
    return StorageError(
        f"{file}: cannot be written ({error.strerror or error}); records are intact; run the "
        "same command again to resume"
    )


class _StoredTrial(TypedDict):
    """A trial in the search's file; a score that is not finite is null."""

    learning_rate: float
    epochs: int
    batch_size: int
    identity: Hash
    scores: list[FiniteFloat | None]
    state: Literal["finished", "stopped", "failed"]
    error: str | None


class _StoredSearch(TypedDict):
    chosen: str | None
    trials: list[_StoredTrial]


def _from_plain(stored: Any) -> Trial:
    scores = [math.nan if score is None else score for score in stored["scores"]]
    return Trial(**{**stored, "scores": scores})


def _to_plain(trial: Trial) -> dict[str, Any]:
    finite = [score if math.isfinite(score) else None for score in trial.scores]
    return asdict(trial) | {"scores": finite}


def scores_by_epoch(record: RunRecord) -> list[float]:
    """Return a record's main score on the selection split after each epoch; larger is better."""
    ends = [
        each
        for each in record.result.get("history", ())
        if "scores" in each and each["epoch"] > 0 and float(each["epoch"]).is_integer()
    ]
    sign = 1 if record.higher_is_better else -1
    return [
        sign * _finite_or_nan(next(iter(each["scores"].values())))
        if each["scores"]
        else -_finite_or_nan(each.get("validation_loss"))
        for each in ends
    ]


def _finite_or_nan(recorded: float | None) -> float:
    """Return a recorded number; one that was not finite is null in a record."""
    return math.nan if recorded is None else float(recorded)
