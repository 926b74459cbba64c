"""Run a table's cells one after the other; other processes may work on the same table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sparsead.errors import AlreadyRecordedError, ClaimedError, StorageError
from sparsead.runs.claim import remove_left_behind
from sparsead.runs.request import RunRequest
from sparsead.runs.states import Done, Failed, Running, is_damaged, read_state
from sparsead.tables.cells import Cell

_POLL_SECONDS = 1.0


@dataclass
class Outcome:
    """Identities of the runs that this process finished, and of those that failed in it."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


Execute = Callable[[RunRequest], object]
Tell = Callable[[str, Cell], None]


def run_cells(
    cells: Sequence[Cell], execute: Execute, *, retry_failed: bool = False, tell: Tell
) -> Outcome:
    """Execute the runs that are neither recorded nor failed, and wait for those of other processes.

    A run that another process leaves unfinished is taken over. A failure is recorded, and the next
    run follows.

    Args:
        cells: the cells; cells that share a run count once, and a waiting cell stands for its
            prerequisites.
        execute: trains and records one run.
        retry_failed: also execute failed runs, once.
        tell: called with "run", "done", "failed" or "waiting" and the cell, to print progress.

    Raises:
        StorageError: the outputs folder cannot be written, so that every other run would fail too.
    """
    outcome = Outcome()
    every = drop_duplicates(each for cell in cells for each in _to_do(cell))
    waiting = list(every)
    while waiting:
        left = [cell for cell in waiting if not _settle(cell, execute, retry_failed, tell, outcome)]
        if len(left) == len(waiting):
            tell("waiting", left[0])
            time.sleep(_POLL_SECONDS)
        waiting = left
    remove_left_behind(cell.request.folder for cell in every)
    return outcome


def _to_do(cell: Cell) -> list[Cell]:
    """Return the cell itself, or, if it waits, one cell for each of its prerequisites."""
    return [replace(cell, request=run, needs=()) for run in cell.needs] or [cell]


def drop_duplicates(cells: Iterable[Cell]) -> list[Cell]:
    """Return the first cell of each run."""
    first: dict[tuple[str, str | bool], Cell] = {}
    for cell in cells:  # waiting cells do not have their final identity yet: compare rows as well
        first.setdefault((cell.request.identity, cell.waits and cell.row), cell)
    return list(first.values())


def count_states(cells: Iterable[Cell]) -> Counter[str]:
    """Return how many runs are done, failed, running, missing, and waiting for others."""
    return Counter(_state(cell) for cell in drop_duplicates(cells))


def _state(cell: Cell) -> str:
    return "waiting" if cell.waits else type(read_state(cell.request.folder)).__name__.lower()


def _settle(cell: Cell, execute: Execute, retry: bool, tell: Tell, outcome: Outcome) -> bool:
    """Execute the cell's run if necessary; return False if another process is working on it."""
    request = cell.request
    state = read_state(request.folder)
    if isinstance(state, Running):
        return False
    tried = request.identity in outcome.failed
    if isinstance(state, Done) or (isinstance(state, Failed) and (tried or not retry)):
        return True
    tell("run", cell)
    try:
        execute(replace(request, rerun=request.rerun or is_damaged(request.folder)))
    except ClaimedError:
        return False
    except AlreadyRecordedError:
        return True
    except StorageError:
        raise
    except Exception as error:
        request.record_failure(error)
        outcome.failed.append(request.identity)
        tell("failed", cell)
    else:
        outcome.done.append(request.identity)
        tell("done", cell)
    return True
