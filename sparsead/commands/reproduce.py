"""`sparsead reproduce`: train the missing runs of a table, then print the table.

With hydra/launcher=joblib, ray or submitit_slurm the launcher trains several runs at a time.

$ sparsead reproduce table3 backbone=minilm seeds=3
$ sparsead reproduce table3 'only=row=ls*' task.path=FOLDER
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import NoReturn

from omegaconf import DictConfig

from sparsead.assembly.checks import check_buildable
from sparsead.commands.train import job, train_run
from sparsead.config.arguments import Parser, add_output_options, add_table
from sparsead.config.launch import check_launcher, launch_jobs, take_launcher
from sparsead.config.launchers import is_worker
from sparsead.config.quoting import outputs_option
from sparsead.config.search import SearchSpec
from sparsead.config.tracking import group_tracked
from sparsead.errors import ConfigError, StorageError
from sparsead.errors.display import one_line, pluralize, tell
from sparsead.progress import (
    JSON,
    OUTPUT_VARIABLE,
    output_as,
    output_mode,
    print_line,
    printed_log,
)
from sparsead.report import tabulate
from sparsead.report.publish import publish
from sparsead.report.results import Results, measure
from sparsead.report.teller import Teller, name_cell
from sparsead.report.view import build_view
from sparsead.runs.failure import failure_file
from sparsead.runs.interrupt import stop_on_interrupt
from sparsead.runs.prerequisites import lacks_weights
from sparsead.runs.states import Done, Failed, is_damaged, read_state
from sparsead.search import search_cells
from sparsead.tables.cells import AVERAGE, Cell, TableSpec, by_place, list_cells
from sparsead.tables.estimate import MEASURES, describe_plan
from sparsead.tables.files import load_table
from sparsead.tables.searches import count_searches, list_failed_searches
from sparsead.tables.sweep import count_states, drop_duplicates, run_cells

_LOOK_SECONDS = 2.0


def main() -> None:
    """Entry point of `sparsead reproduce`."""
    parser = Parser("sparsead reproduce", __doc__)
    add_table(parser)
    parser.add_argument("--retry-failed", action="store_true", help="also train failed runs again")
    add_output_options(parser)
    arguments = parser.parse()
    launcher, _ = take_launcher(arguments.overrides)
    check_launcher(launcher)
    table = load_table(arguments.table, arguments.overrides)
    with output_as(quiet=arguments.quiet, json=arguments.json):
        reproduce(table, retry=arguments.retry_failed, launcher=launcher)


def reproduce(
    table: TableSpec, *, retry: bool, launcher: Sequence[str] = (), unmeasured: str = MEASURES
) -> NoReturn:
    """Train a table's missing runs, print the table, and exit with status 1 if a run failed.

    A tracker groups the runs by the table's name.

    Args:
        table: the table.
        retry: also train failed runs again.
        launcher: the overrides that choose one of Hydra's launchers; none trains one run after the
            other in this process.
        unmeasured: what to say of runs that have no estimate.
    """
    if launcher and table.search is not None and table.search.name == "asha":
        raise ConfigError(
            f"{launcher[0]}: search=asha compares runs while they train; leave the launcher out, "
            "and start the command several times: the processes share the table"
        )
    table = replace(table, overrides=group_tracked(table.overrides, table.name))
    wanted = list_cells(table)
    for cell in wanted:
        cell.request.tracking.check_installed()
    _check_before(table, wanted)
    if output_mode() is None:
        sys.stdout.write(describe_plan(wanted, table.search, unmeasured, retry=retry))
        sys.stdout.flush()
    with printed_log(), stop_on_interrupt("run the same command again to resume"):
        try:
            if launcher:
                wanted = launch_cells(table, wanted, launcher, retry=retry)
            else:
                wanted = _do(table, wanted, retry_failed=retry)
        except OSError as error:
            raise StorageError(f"outputs: cannot be written ({error})") from error
    render(table, wanted[0].request.outputs)
    failed = print_failures(wanted, table.search)
    left = count_runs(wanted, retry=False) if launcher else 0
    if left:
        tell(f"not finished: {pluralize(left, 'run')}; give the command again")
    stopped = print_missing_weights(wanted)
    raise SystemExit(1 if failed or left or stopped else 0)


def _check_before(table: TableSpec, wanted: Sequence[Cell]) -> None:
    """Refuse what would fail in every run, or in the table after all of them.

    Raises:
        ConfigError: a row cannot be built, or the average is over scores of both directions.
        DataError: a file of the user's own is malformed.
    """
    Results(table, {}).direction(AVERAGE)
    for first, *_ in by_place(wanted):
        if not first.waits and not isinstance(read_state(first.request.folder), Done):
            check_buildable(first.spec)


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


def print_failures(wanted: Sequence[Cell], search: SearchSpec | None = None) -> int:
    """Print one line for each failed run, with the reason; return the number of failures.

    With search=asha it is one line for each failed search, and their number.
    """
    if search is not None and search.name == "asha":
        return _print_failed_searches(wanted, search)
    failed = 0
    for cell in drop_duplicates(wanted):
        state = read_state(cell.request.folder)
        if isinstance(state, Failed):
            failed += 1
            reason, *_ = str(state.failure["error"]).splitlines() or [""]
            tell(f"failed: {name_cell(cell)}: {reason}")
    if failed:
        tell(f"{failed} failed; --retry-failed trains them again")
    return failed


def _print_failed_searches(wanted: Sequence[Cell], search: SearchSpec) -> int:
    failed = 0
    for cell, reason in list_failed_searches(wanted, search):
        failed += 1
        tell(f"failed: {cell.row}, {cell.column}, {cell.backbone}: {one_line(reason)}")
    if failed:
        tell(f"searches that failed: {failed}; --retry-failed tries them again")
    return failed


def print_missing_weights(wanted: Sequence[Cell]) -> int:
    """Print which sources have no weights, if any; return the number of runs that need them."""
    stopped = [cell for cell in wanted if any(lacks_weights(run.folder) for run in cell.needs)]
    if stopped:
        needed = {run.folder for cell in stopped for run in cell.needs}
        names = ",".join(sorted(folder.name for folder in needed if lacks_weights(folder)))
        where = outputs_option(stopped[0].request.outputs)
        tell(
            f"not trained: {pluralize(len(stopped), 'run')}, because the weights of what they "
            f"start from are not here; `sparsead runs delete run={names}{where}` lets it be "
            "trained again"
        )
    return len(stopped)


def count_runs(wanted: Sequence[Cell], *, retry: bool) -> int:
    """Return how many runs are to be trained; those of other processes are counted too."""
    counts = count_states(wanted)
    return counts["missing"] + counts["running"] + (counts["failed"] if retry else 0)


def _do(table: TableSpec, wanted: list[Cell], *, retry_failed: bool) -> list[Cell]:
    """Run the cells, then those that waited for prerequisites; return the cells as they are then.

    The identity of a waiting cell changes when its prerequisites are finished.
    """
    if table.search is not None and table.search.name == "asha":
        tell = Teller(count_searches(wanted, table.search, retry_failed=retry_failed))
        search_cells(wanted, table.search, train_run, tell, retry_failed=retry_failed)
    else:
        tell = Teller(count_runs(wanted, retry=retry_failed))
        run_cells(wanted, train_run, retry_failed=retry_failed, tell=tell)
    now = list_cells(table)
    if sum(cell.waits for cell in now) == sum(cell.waits for cell in wanted):
        return now
    return _do(table, now, retry_failed=False)


def launch_cells(
    table: TableSpec, wanted: list[Cell], launcher: Sequence[str], *, retry: bool
) -> list[Cell]:
    """Train the missing cells through a launcher; return the cells as they are then.

    Cells whose sources are runs of the table follow when those are finished.

    Raises:
        ConfigError: there is no such launcher.
    """
    of_rows = {row.name for row in table.rows if row.sources is not None}
    tell = Teller(count_runs(wanted, retry=retry))
    tried: set[str] = set()
    while ready := [
        cell
        for cell in drop_duplicates(wanted)
        if cell.request.identity not in tried
        and not (cell.waits and cell.row in of_rows)
        and _is_to_train(cell, retry=retry)
    ]:
        tried |= {cell.request.identity for cell in ready}
        with _report_endings(ready, tell):
            jobs = [_list_words(cell) for cell in ready]
            errors = launch_jobs(jobs, train_cell, launcher, wanted[0].request.outputs)
        for error in errors:
            print_line(f"failed: {one_line(error)}")
        wanted = list_cells(table)
    return wanted


def train_cell(config: DictConfig) -> float:
    """Train one run in a launcher's worker, whose lines would repeat those of this command."""
    if is_worker():
        os.environ.setdefault(OUTPUT_VARIABLE, JSON)
    return job(config)


def _list_words(cell: Cell) -> tuple[str, ...]:
    """Return the overrides of a launcher's job; a damaged record is replaced."""
    return (*cell.overrides, "rerun=true") if is_damaged(cell.request.folder) else cell.overrides


def _is_to_train(cell: Cell, *, retry: bool) -> bool:
    state = read_state(cell.request.folder)
    return (
        cell.waits or not isinstance(state, Done | Failed) or (retry and isinstance(state, Failed))
    )


@contextmanager
def _report_endings(cells: Sequence[Cell], tell: Teller) -> Iterator[None]:
    """Tell of each run that a worker finishes within the block, by watching the records."""
    began = time.time()
    waiting = list(cells)
    ended = Event()

    def look() -> None:
        for cell in list(waiting):
            event = _ending(cell, began)
            if event is not None:
                waiting.remove(cell)
                tell("run", cell)
                tell(event, cell)

    def watch() -> None:
        while not ended.wait(_LOOK_SECONDS):
            look()

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()


def _ending(cell: Cell, began: float) -> str | None:
    """Return how a run has ended since then; None if it has not."""
    folder = cell.request.folder
    if isinstance(read_state(folder), Done):
        return "done"
    failure = failure_file(folder)
    return "failed" if failure.exists() and failure.stat().st_mtime >= began else None
