"""A table's cells, done one after the other in this process, beside other processes or alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sparsead.errors import AlreadyRecordedError, ClaimedError, StorageError
from sparsead.runs.claim import remove_left_behind
from sparsead.runs.request import RunRequest
from sparsead.runs.states import Done, Failed, Running, read_state
from sparsead.tables.cells import Cell

_POLL_SECONDS = 1.0


@dataclass
class Outcome:
    """What became of the cells: the identities of the runs that were done here, or failed."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


Execute = Callable[[RunRequest], object]
Tell = Callable[[str, Cell], None]


def run_cells(
    cells: Sequence[Cell], execute: Execute, *, retry_failed: bool = False, tell: Tell
) -> Outcome:
    """Do what is neither recorded nor failed; wait for what other processes are doing.

    A cell that another process leaves unfinished is taken over. A failure is recorded, and the
    next cell goes on.

    Args:
        cells: of which those of one run count once; for one that waits, the runs that it needs.
        execute: does and records one run.
        retry_failed: do the failed ones too, once.
        tell: hears "run", "failed" or "waiting" and the cell.

    Raises:
        StorageError: nothing can be written, so that no other cell would fare better.
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
    """Return the cell, or in the place of one that waits a cell for each run that it needs."""
    return [replace(cell, request=run, needs=()) for run in cell.needs] or [cell]


def drop_duplicates(cells: Iterable[Cell]) -> list[Cell]:
    """Return one cell a run, the first."""
    first: dict[tuple[str, str | bool], Cell] = {}
    for cell in cells:  # those that wait have no identity yet: their rows tell them apart
        first.setdefault((cell.request.identity, cell.waits and cell.row), cell)
    return list(first.values())


def count_states(cells: Iterable[Cell]) -> Counter[str]:
    """Return how many runs are done, failed, running, missing, and waiting for others."""
    return Counter(_state(cell) for cell in drop_duplicates(cells))


def _state(cell: Cell) -> str:
    return "waiting" if cell.waits else type(read_state(cell.request.folder)).__name__.lower()


def _settle(cell: Cell, execute: Execute, retry: bool, tell: Tell, outcome: Outcome) -> bool:
    """Do the cell if it is to be done here; tell whether there is nothing left to do or await."""
    request = cell.request
    state = read_state(request.folder)
    if isinstance(state, Running):
        return False
    tried = request.identity in outcome.failed
    if isinstance(state, Done) or (isinstance(state, Failed) and (tried or not retry)):
        return True
    tell("run", cell)
    try:
        execute(request)
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
    return True
