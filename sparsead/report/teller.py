"""One line for each run of a table that ends, and how far the whole table is."""

from __future__ import annotations

import time
from collections.abc import Callable

from sparsead.errors.display import one_line
from sparsead.progress import format_seconds, name_sweep, print_line
from sparsead.report.outcome import describe_scores
from sparsead.runs.states import Done, read_state
from sparsead.tables.cells import Cell


class Teller:
    """Tells how far a table is: which run this is, how many failed, and how long all will take.

    Args:
        runs: number of runs, or of searches, that are to be trained.
        name: what a cell is called.
    """

    def __init__(self, runs: int, name: Callable[[Cell], str] | None = None) -> None:
        self._runs = runs
        self._name = name or name_cell
        self._ended = self._failed = 0
        self._spent = 0.0
        self._began = time.monotonic()

    def __call__(self, event: str, cell: Cell) -> None:
        """Tell that a run begins, is done or has failed, or that another process works on it."""
        if event == "run":  # which another process may be faster to begin: it counts when it ends
            self._began = time.monotonic()
            name_sweep(f"{self._describe()}: {self._name(cell)}")
        elif event == "waiting":
            print_line(f"waiting for another process: {self._name(cell)}")
        else:
            self._failed += event == "failed"
            self._ended += 1
            self._spent += time.monotonic() - self._began
            print_line(
                f"{self._ended} of {self._count}: {self._name(cell)}: {_outcome(event, cell)}"
            )
            name_sweep("")

    @property
    def _count(self) -> int:
        """Number of runs; more than planned where runs waited for others."""
        return max(self._runs, self._ended)

    def _describe(self) -> str:
        number = self._ended + 1
        parts = [f"run {number} of {max(self._count, number)}"]
        parts += [f"{self._failed} failed"] if self._failed else []
        if self._ended:
            seconds = self._spent / self._ended * max(1, self._count - self._ended)
            parts.append(f"about {format_seconds(seconds)} left for all")
        return ", ".join(parts)


def _outcome(event: str, cell: Cell) -> str:
    state = read_state(cell.request.folder)
    if not isinstance(state, Done):  # of a search, the point of this cell was not chosen
        return event
    seconds = sum(state.record.result["seconds"].values())
    return f"{describe_scores(state.record)}, {format_seconds(seconds)}"


def name_cell(cell: Cell) -> str:
    """Return what a run of a table is called in a line of the terminal."""
    point = "" if cell.point is None else f", point {cell.point}"
    return one_line(f"{cell.row}, {cell.column}, {cell.backbone}, seed {cell.seed}{point}")
