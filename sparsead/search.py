"""`search=asha`: find the best point of a grid by asynchronous successive halving (ASHA).

Points are compared on the selection split, a held-out part of the training data. Optuna decides
which point is stopped, and when. Its study is in a journal (`runs/journal.py`), so that a killed
search goes on, and several processes that are given the same command share one. A table searches a
point for each row and column over all its seeds.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Protocol

from filelock import BaseFileLock, FileLock, Timeout

from sparsead.config.search import SearchSpec, check_comparable
from sparsead.errors import (
    AlreadyRecordedError,
    ClaimedError,
    ConfigError,
    SparseadError,
    StorageError,
    TrainingStopped,
)
from sparsead.errors.memory import lacks_memory
from sparsead.runs.interrupt import Watch
from sparsead.runs.journal import Journal, check_installed, journal_file
from sparsead.runs.record import RunRecord, find_record
from sparsead.runs.request import RunRequest
from sparsead.runs.secrets import hide_secrets
from sparsead.runs.staging import discard
from sparsead.runs.states import is_damaged
from sparsead.runs.trial_watches import Decision, Until, list_rungs
from sparsead.runs.trials import (
    Trial,
    list_points,
    read_trials,
    scores_by_epoch,
    trials_file,
    write_trials,
)
from sparsead.tables.cells import Cell, runs_by_point
from sparsead.tables.choice import find_choice
from sparsead.tables.searches import list_searches

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0


class NoPointError(ConfigError):
    """No point of a search finished."""


class Train(Protocol):
    """A function that trains and records one run, unless the watch stops it early."""

    def __call__(self, request: RunRequest, watch: Watch | None = None) -> RunRecord:
        """Return the run's record."""


def search(request: RunRequest, space: SearchSpec, train: Train) -> RunRecord:
    """Search for the best point of one run, and return its record; see `choose_runs`."""
    (chosen,) = choose_runs([request], space, train)
    return _find_or_train(chosen, train)


def check_search(request: RunRequest, space: SearchSpec) -> None:
    """Refuse a search that cannot be done, before anything of it is trained.

    Raises:
        ConfigError: no selection split is held out, a point is out of range, the run is to be
            trained again, Optuna is not installed, or torchrun has started this process.
    """
    check_comparable(request.spec.protocol)
    check_installed()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "search=asha: is not for torchrun; start the command several times without it, and "
            "the processes share the search"
        )
    points = list_points([request], space)
    if request.rerun:
        raise ConfigError(
            "rerun=true: search=asha goes on with the search that is recorded; leave rerun out, "
            f"or delete {journal_file(trials_file(space, points))} to search anew"
        )


def choose_runs(
    requests: Sequence[RunRequest], space: SearchSpec, train: Train
) -> list[RunRequest]:
    """Train the points of the grid, and return the runs of the best one that finishes.

    Points are compared by their means over the seeds. With several seeds, all of them train to the
    next rung before it is decided whether the point goes on.

    Args:
        requests: the same run with one or several seeds; the search replaces its learning rate,
            epochs and batch size.
        space: the search space.
        train: trains and records a run; a watch may stop it after any epoch.

    Returns:
        The runs of the chosen point, one for each seed. No run is recorded yet: only these are to
        be scored on the validation split.

    Raises:
        ConfigError: the search cannot be done (see `check_search`), or no point finished.
        RecordError: the search's journal is damaged.
        StorageError: the search's files cannot be written.
        SparseadError: an error that the user can fix and that would fail every point.
    """
    check_search(requests[0], space)
    points = list_points(requests, space)
    file = trials_file(space, points)
    written, _ = read_trials(file)  # says so if it was altered; below, it is written anew
    journal = Journal(journal_file(file), space, points)
    journal.check_against(file, written)
    tried = _try_all(journal, space, train, file)
    best = _best(tried)
    if best is None:
        raise NoPointError(
            f"search=asha: no point finished; the first one: {tried[0]}; delete "
            f"{journal_file(file)} to search anew"
        )
    chosen = journal.points[tried.index(best)]
    write_trials(file, space, tried, chosen[0].folder.name)
    log.info("%s", file)
    return list(chosen)


def _try_all(
    journal: Journal,
    space: SearchSpec,
    train: Train,
    file: Path,
) -> list[Trial]:
    """Try every point that no other process tries, and return how all have ended."""
    points = journal.points
    busy: set[int] = set()
    while (taken := journal.take(busy)) is not None or journal.list_running():
        if taken is None:  # other processes are at the last points
            busy.clear()
            time.sleep(_POLL_SECONDS)
            continue
        trial = Trial.of(points[taken.number][0])
        try:
            _try(points[taken.number], Decision(journal, taken, trial), space, train)
        except ClaimedError:  # another process was faster
            journal.leave(taken)
            busy.add(taken.number)
            continue
        journal.tell(taken, trial)
        log.info("%d of %d: %s", taken.number + 1, len(points), trial)
        ended = journal.list_ended()
        write_trials(file, space, list(ended.values()))
        _keep_best(points, ended)
    return list(journal.list_ended().values())


def _find_or_train(run: RunRequest, train: Train) -> RunRecord:
    """Return the record of the chosen run; a process that shares the search may be training it.

    A failure is recorded, and raised.
    """
    while True:
        try:
            record = None if run.rerun else find_record(run.folder)
            return train(run) if record is None else record
        except AlreadyRecordedError:
            return RunRecord.read(run.folder)
        except ClaimedError:
            time.sleep(_POLL_SECONDS)
        except StorageError:
            raise
        except Exception as error:
            run.record_failure(error)
            raise


def _try(runs: Sequence[RunRequest], is_over: Decision, space: SearchSpec, train: Train) -> None:
    """Train a point until it finishes or is stopped; its checkpoints stay, to resume from."""
    if len(runs) == 1:
        _train(runs[0], is_over, is_over.trial, train)
        return
    for rung in list_rungs(space, is_over.trial.epochs):
        watches = [Until(rung) for _ in runs]
        for run, watch in zip(runs, watches, strict=True):
            if not _train(run, watch, is_over.trial, train):
                return
        if is_over([fmean(scores) for scores in zip(*(w.scores for w in watches), strict=True)]):
            return


def _train(run: RunRequest, watch: Watch, trial: Trial, train: Train) -> bool:
    """Train a run until the watch stops it; return False, and note it in the trial, if it fails.

    A run that is recorded already is not trained again.
    """
    record = find_record(run.folder)
    if record is not None:
        watch(scores_by_epoch(record))
        return True
    try:
        train(run, watch)
    except TrainingStopped:
        return True
    except AlreadyRecordedError:  # by another process, meanwhile
        watch(scores_by_epoch(RunRecord.read(run.folder)))
        return True
    except Exception as error:
        if not _is_of_point(error):
            raise
        run.record_failure(error)
        trial.state, trial.error = "failed", hide_secrets(f"{type(error).__name__}: {error}")
        return False
    return True


def _is_of_point(error: Exception) -> bool:
    """Tell whether one point can fail so alone, such as by a batch that the memory cannot hold.

    Its batches can also be too few for an option of the protocol. What else the user can fix, such
    as data that are missing, would fail every point; what cannot be built was refused before.
    """
    lacks = error.__cause__ is not None and lacks_memory(error.__cause__)
    return lacks or isinstance(error, ConfigError) or not isinstance(error, SparseadError)


def _best(tried: Sequence[Trial]) -> Trial | None:
    """Return the finished trial with the best last score, the first of equals; NaN ranks last."""
    finished = [trial for trial in tried if trial.state == "finished"]
    return max(finished, key=lambda t: (t.scores[-1] == t.scores[-1], t.scores[-1]), default=None)


def _keep_best(points: Sequence[Sequence[RunRequest]], ended: Mapping[int, Trial]) -> None:
    """Remove the checkpoints of all points that have ended but the best, to save disk space."""
    best = _best(list(ended.values()))
    for number, trial in ended.items():
        if trial is not best:
            for run in points[number]:
                discard(run.folder)


def search_cells(
    cells: Sequence[Cell],
    space: SearchSpec,
    train: Train,
    tell: Callable[[str, Cell], None],
    *,
    retry_failed: bool = False,
) -> int:
    """Search the point of each row and column of a table that has none yet, over all its seeds.

    Cells that wait for prerequisites are left for later. A search that another process works on is
    waited for, and taken over if that process ends without a choice.

    Args:
        cells: the table's cells, one for each point and seed.
        space: the search space.
        train: trains and records a run; a watch may stop it after any epoch.
        tell: called with "run", "done", "failed" or "waiting" and the search's first cell.
        retry_failed: whether a search in which no point finished begins anew, and a chosen point
            that failed is trained again.

    Returns:
        The number of searches that failed.

    Raises:
        SparseadError: an error that the user can fix and that would fail every point.
    """
    searches = list_searches(cells, space)
    failed = 0
    while searches:
        left: dict[Path, list[Cell]] = {}
        for file, found in searches.items():
            state = _search_cell(file, found, space, train, tell, retry_failed=retry_failed)
            failed += state == "failed"
            if state == "waiting":
                left[file] = found
        if len(left) == len(searches):
            tell("waiting", next(iter(left.values()))[0])
            time.sleep(_POLL_SECONDS)
        searches = left
    return failed


def _search_cell(
    file: Path,
    cells: Sequence[Cell],
    space: SearchSpec,
    train: Train,
    tell: Callable[[str, Cell], None],
    *,
    retry_failed: bool,
) -> str:
    """Search one cell of a table unless it is over; return done, failed or waiting."""
    runs = runs_by_point(cells)
    choice = find_choice(space, runs)
    if choice.point is not None:
        return "done"
    if choice.is_over and not retry_failed:
        return "failed"
    try:
        with _locked(file):
            if choice.is_over and _best(read_trials(file)[0]) is None:
                journal_file(file).unlink(missing_ok=True)
            tell("run", cells[0])
            chosen = choose_runs(next(iter(runs.values())), space, train)
            state = _train_chosen(chosen, train, retry_failed=retry_failed)
    except (Timeout, ClaimedError):
        return "waiting"
    except NoPointError as error:
        log.info("%s", error)
        state = "failed"
    tell(state, cells[0])
    return state


def _train_chosen(runs: Sequence[RunRequest], train: Train, *, retry_failed: bool) -> str:
    """Train the runs of the chosen point that are not recorded; return done or failed.

    A failure of one of them does not end the others, as in a table without a search.
    """
    outcome = "done"
    for run in runs:
        try:
            _find_or_train(replace(run, rerun=retry_failed and is_damaged(run.folder)), train)
        except StorageError:
            raise
        except Exception as error:  # it is recorded, and told at the end
            log.info("%s: %s", run.folder.name, hide_secrets(f"{type(error).__name__}: {error}"))
            outcome = "failed"
    return outcome


def _locked(file: Path) -> BaseFileLock:
    """Return the lock of a search, which raises Timeout if another process holds it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file.with_name(f".{file.stem}.lock"), timeout=0)
