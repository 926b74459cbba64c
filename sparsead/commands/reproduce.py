"""`sparsead reproduce`: train the missing runs of a table, then print the table.

$ sparsead reproduce table3 backbone=minilm seeds=3
$ sparsead reproduce table3 'only=row=ls*' task.path=FOLDER
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from sparsead.commands.train import train_run
from sparsead.config.arguments import Parser, add_output_options, add_table
from sparsead.errors import StorageError
from sparsead.errors.display import one_line
from sparsead.progress import (
    JSON,
    format_seconds,
    name_sweep,
    output_as,
    output_mode,
    print_line,
    printed_log,
)
from sparsead.report import tabulate
from sparsead.report.outcome import describe_scores
from sparsead.report.publish import publish
from sparsead.report.results import measure
from sparsead.report.view import build_view
from sparsead.runs.interrupt import stop_on_interrupt
from sparsead.runs.states import Done, Failed, read_state
from sparsead.search import search_cells
from sparsead.tables.cells import Cell, TableSpec, by_place, list_cells
from sparsead.tables.estimate import describe_plan
from sparsead.tables.files import load_table
from sparsead.tables.sweep import count_states, drop_duplicates, run_cells


def main() -> None:
    """Entry point of `sparsead reproduce`."""
    parser = Parser("sparsead reproduce", __doc__)
    add_table(parser)
    parser.add_argument("--retry-failed", action="store_true", help="also train failed runs again")
    add_output_options(parser)
    arguments = parser.parse()
    table = load_table(arguments.table, arguments.overrides)
    with output_as(quiet=arguments.quiet, json=arguments.json):
        reproduce(table, retry=arguments.retry_failed)


def reproduce(table: TableSpec, *, retry: bool) -> NoReturn:
    """Train a table's missing runs, print the table, and exit with status 1 if a run failed."""
    wanted = list_cells(table)
    if output_mode() is None:
        sys.stdout.write(describe_plan(wanted, table.search))
        sys.stdout.flush()
    with printed_log(), stop_on_interrupt("run the same command again to resume"):
        try:
            wanted = _do(table, wanted, retry_failed=retry)
        except OSError as error:
            raise StorageError(f"outputs: cannot be written ({error})") from error
    render(table, wanted[0].request.outputs)
    failed = print_failures(wanted)
    raise SystemExit(1 if failed else 0)


def render(table: TableSpec, outputs: Path) -> None:
    """Print the table, and write its HTML report and figure."""
    shown = build_view(measure(table))
    written = "".join(f"{path}\n" for path in publish(shown, outputs))
    if output_mode() == JSON:
        sys.stdout.write(tabulate.render(shown, "json"))
        return
    if output_mode() is None:
        sys.stdout.write(tabulate.render(shown, "rich"))
    sys.stdout.write(written)


def print_failures(wanted: Sequence[Cell]) -> int:
    """Print one line for each failed run, with the reason; return the number of failures."""
    failed = 0
    for cell in drop_duplicates(wanted):
        state = read_state(cell.request.folder)
        if isinstance(state, Failed):
            failed += 1
            reason, *_ = str(state.failure["error"]).splitlines() or [""]
            sys.stderr.write(f"sparsead: failed: {one_line(f'{_name(cell)}: {reason}')}\n")
    if failed:
        sys.stderr.write(f"sparsead: {failed} failed; --retry-failed trains them again\n")
    return failed


def count_runs(wanted: Sequence[Cell], *, retry: bool) -> int:
    """Return how many runs are to be trained; those of other processes are counted too."""
    counts = count_states(wanted)
    return counts["missing"] + counts["running"] + (counts["failed"] if retry else 0)


def _do(table: TableSpec, wanted: list[Cell], *, retry_failed: bool) -> list[Cell]:
    """Run the cells, then those that waited for prerequisites; return the cells as they are then.

    The identity of a waiting cell changes when its prerequisites are finished.
    """
    if table.search is not None and table.search.name == "asha":
        searches = len(by_place(wanted))
        search_cells(wanted, table.search, train_run, Teller(searches))
    else:
        tell = Teller(count_runs(wanted, retry=retry_failed))
        run_cells(wanted, train_run, retry_failed=retry_failed, tell=tell)
    now = list_cells(table)
    if sum(cell.waits for cell in now) == sum(cell.waits for cell in wanted):
        return now
    return _do(table, now, retry_failed=False)


class Teller:
    """Tells how far a table is: which run this is, how many failed, and how long all will take.

    Args:
        runs: number of runs, or of searches, that are to be trained.
        name: what a cell is called.
    """

    def __init__(self, runs: int, name: Callable[[Cell], str] | None = None) -> None:
        self._runs = runs
        self._name = name or _name
        self._number = self._failed = 0
        self._began = time.monotonic()

    def __call__(self, event: str, cell: Cell) -> None:
        """Tell that a run begins, is done or has failed, or that another process works on it."""
        if event == "run":
            self._number += 1
            name_sweep(f"{self._describe()}: {self._name(cell)}")
        elif event == "waiting":
            print_line(f"waiting for another process: {self._name(cell)}")
        else:
            self._failed += event == "failed"
            print_line(
                f"{self._number} of {self._count}: {self._name(cell)}: {_outcome(event, cell)}"
            )
            name_sweep("")

    @property
    def _count(self) -> int:
        """Number of runs; more than planned where runs waited for others."""
        return max(self._runs, self._number)

    def _describe(self) -> str:
        done = self._number - 1
        parts = [f"run {self._number} of {self._count}"]
        parts += [f"{self._failed} failed"] if self._failed else []
        if done:
            each = (time.monotonic() - self._began) / done
            parts.append(f"about {format_seconds(each * (self._count - done))} left for all")
        return ", ".join(parts)


def _outcome(event: str, cell: Cell) -> str:
    state = read_state(cell.request.folder)
    if not isinstance(state, Done):  # of a search, the point of this cell was not chosen
        return event
    seconds = sum(state.record.result["seconds"].values())
    return f"{describe_scores(state.record)}, {format_seconds(seconds)}"


def _name(cell: Cell) -> str:
    point = "" if cell.point is None else f", point {cell.point}"
    return one_line(f"{cell.row}, {cell.column}, {cell.backbone}, seed {cell.seed}{point}")
