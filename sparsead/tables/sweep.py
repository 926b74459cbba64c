"""A table's cells, done one after the other in this process, beside other processes or alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sparsead.config.run import RunSpec
from sparsead.errors import AlreadyRecordedError, ClaimedError, StorageError
from sparsead.runs.claim import remove_left_behind
from sparsead.runs.failure import record_failure
from sparsead.runs.identity import identity
from sparsead.runs.record import run_folder
from sparsead.runs.states import Done, Failed, Running, run_state
from sparsead.tables.cells import Cell

_POLL_SECONDS = 1.0


@dataclass
class Outcome:
    """What became of the cells: the identities of the runs that were done here, or failed."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


Execute = Callable[[RunSpec], object]
Tell = Callable[[str, Cell], None]


def run_cells(
    cells: Sequence[Cell], execute: Execute, *, retry_failed: bool = False, tell: Tell
) -> Outcome:
    """Do what is neither recorded nor failed; wait for what other processes are doing.

    A cell that another process leaves unfinished is taken over. A failure is recorded, and the
    next cell goes on.

    Args:
        cells: of which those of one run count once, and those that wait are left out.
        execute: does and records one run.
        retry_failed: do the failed ones too, once.
        tell: hears "run", "failed" or "waiting" and the cell.

    Raises:
        StorageError: nothing can be written, so that no other cell would fare better.
    """
    outcome = Outcome()
    waiting = [cell for cell in unique(cells) if not cell.waits]
    while waiting:
        left = [cell for cell in waiting if not _settle(cell, execute, retry_failed, tell, outcome)]
        if len(left) == len(waiting):
            tell("waiting", left[0])
            time.sleep(_POLL_SECONDS)
        waiting = left
    remove_left_behind(run_folder(cell.spec) for cell in unique(cells) if not cell.waits)
    return outcome


def unique(cells: Iterable[Cell]) -> list[Cell]:
    """Return one cell a run, the first."""
    named = {(identity(cell.spec), cell.waits and cell.row): cell for cell in reversed(list(cells))}
    return list(named.values())[::-1]


def count_states(cells: Iterable[Cell]) -> Counter[str]:
    """Return how many runs are done, failed, running, missing, and waiting for others."""
    return Counter(_state(cell) for cell in unique(cells))


def _state(cell: Cell) -> str:
    return "waiting" if cell.waits else type(run_state(cell.spec)).__name__.lower()


def _settle(cell: Cell, execute: Execute, retry: bool, tell: Tell, outcome: Outcome) -> bool:
    """Do the cell if it is to be done here; tell whether there is nothing left to do or await."""
    state = run_state(cell.spec)
    if isinstance(state, Running):
        return False
    name = identity(cell.spec)
    tried = name in outcome.failed
    if isinstance(state, Done) or (isinstance(state, Failed) and (tried or not retry)):
        return True
    tell("run", cell)
    try:
        execute(cell.spec)
    except ClaimedError:
        return False
    except AlreadyRecordedError:
        return True
    except StorageError:
        raise
    except Exception as error:
        record_failure(cell.spec, run_folder(cell.spec), error)
        outcome.failed.append(name)
        tell("failed", cell)
    else:
        outcome.done.append(name)
    return True
