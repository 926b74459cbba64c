"""`sparsead reproduce`: train the missing runs of a table, then print the table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sparsead.commands.train import train_run
from sparsead.config.arguments import Parser, add_table
from sparsead.errors import StorageError
from sparsead.errors.display import one_line
from sparsead.report import tabulate
from sparsead.report.publish import publish
from sparsead.report.results import measure
from sparsead.report.view import build_view
from sparsead.runs.interrupt import stop_on_interrupt
from sparsead.runs.states import Failed, read_state
from sparsead.search import search_cells
from sparsead.tables.cells import Cell, TableSpec, list_cells
from sparsead.tables.estimate import describe_plan
from sparsead.tables.files import load_table
from sparsead.tables.sweep import drop_duplicates, run_cells


def main() -> None:
    """Entry point of `sparsead reproduce`."""
    parser = Parser("sparsead reproduce", __doc__)
    add_table(parser)
    parser.add_argument("--retry-failed", action="store_true", help="also train failed runs again")
    arguments = parser.parse()
    table = load_table(arguments.table, arguments.overrides)
    wanted = list_cells(table)
    sys.stdout.write(describe_plan(wanted, table.search))
    sys.stdout.flush()
    with stop_on_interrupt("run the same command again to resume"):
        try:
            wanted = _do(table, wanted, retry_failed=arguments.retry_failed)
        except OSError as error:
            raise StorageError(f"outputs: cannot be written ({error})") from error
    render(table, wanted[0].request.outputs)
    failed = print_failures(wanted)
    raise SystemExit(1 if failed else 0)


def render(table: TableSpec, outputs: Path) -> None:
    """Print the table, and write its HTML report and figure."""
    shown = build_view(measure(table))
    sys.stdout.write(tabulate.render(shown, "rich"))
    sys.stdout.write("".join(f"{path}\n" for path in publish(shown, outputs)))


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


def _do(table: TableSpec, wanted: list[Cell], *, retry_failed: bool) -> list[Cell]:
    """Run the cells, then those that waited for prerequisites; return the cells as they are then.

    The identity of a waiting cell changes when its prerequisites are finished.
    """
    if table.search is not None and table.search.name == "asha":
        search_cells(wanted, table.search, train_run, _tell)
    else:
        run_cells(wanted, train_run, retry_failed=retry_failed, tell=_tell)
    now = list_cells(table)
    if sum(cell.waits for cell in now) == sum(cell.waits for cell in wanted):
        return now
    return _do(table, now, retry_failed=False)


def _tell(event: str, cell: Cell) -> None:
    said = {"run": "", "failed": "failed: ", "waiting": "waiting for another process: "}[event]
    sys.stdout.write(f"{said}{_name(cell)}\n")
    sys.stdout.flush()


def _name(cell: Cell) -> str:
    point = "" if cell.point is None else f", point {cell.point}"
    return one_line(f"{cell.row}, {cell.column}, {cell.backbone}, seed {cell.seed}{point}")
