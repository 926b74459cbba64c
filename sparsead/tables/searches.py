"""The searches by successive halving of a table, one for each row and task over all seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sparsead.config.search import SearchSpec
from sparsead.tables.cells import Cell, by_place, runs_by_point
from sparsead.tables.choice import explain_failure, file_of, find_choice


def list_searches(cells: Sequence[Cell], space: SearchSpec) -> dict[Path, list[Cell]]:
    """Return the cells of each search by its file; cells that wait for prerequisites have none.

    Columns with the same task share their search.
    """
    searches: dict[Path, list[Cell]] = {}
    for found in by_place(cells):
        if not any(cell.waits for cell in found):
            searches.setdefault(file_of(space, runs_by_point(found)), found)
    return searches


def count_searches(cells: Sequence[Cell], space: SearchSpec, *, retry_failed: bool) -> int:
    """Return how many searches are to be done, with those that failed if they are retried."""
    every = list_searches(cells, space).values()
    choices = [find_choice(space, runs_by_point(found)) for found in every]
    return sum(each.point is None and (retry_failed or not each.is_over) for each in choices)


def list_failed_searches(cells: Sequence[Cell], space: SearchSpec) -> Iterator[tuple[Cell, str]]:
    """Yield a cell of each search that failed, and the reason.

    A point that failed beside a chosen one is no failure: the search has left it out.
    """
    for found in list_searches(cells, space).values():
        reason = explain_failure(space, runs_by_point(found))
        if reason is not None:
            yield found[0], reason
