"""The measured scores of a table, read only from the records of its runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sparsead.errors import RecordError, unknown
from sparsead.report.statistics import Estimate, Scores, average
from sparsead.runs.record import RESULT_FILE, RunRecord
from sparsead.runs.states import Done, Failed, State, read_state
from sparsead.tables.cells import AVERAGE, Cell, Column, TableSpec, list_cells


class Place(NamedTuple):
    """The position of a table cell: backbone, row and column; the column may be `avg`."""

    backbone: str
    row: str
    column: str


@dataclass(frozen=True)
class Measured:
    """The measured results of one table cell over its seeds.

    Attributes:
        scores: scores in percent by seed; a score that is not finite is left out.
        records: records of the finished runs by seed.
        asked: number of seeds that the table asks for.
        failed: the seeds that failed or whose score is not finite.
        collapsed: the seeds whose predictions are all the same; they do have a score.
    """

    scores: Scores
    records: dict[int, RunRecord]
    asked: int
    failed: frozenset[int] = frozenset()
    collapsed: frozenset[int] = frozenset()

    @property
    def estimate(self) -> Estimate | None:
        """Mean and standard deviation over seeds; None without any score."""
        return Estimate.of(list(self.scores.values())) if self.scores else None

    @property
    def lost(self) -> str:
        """How many seeds failed and how many collapsed; empty if none did."""
        failed = f"{len(self.failed)} failed" if self.failed else ""
        collapsed = f"{len(self.collapsed)} collapsed" if self.collapsed else ""
        return ", ".join(filter(None, (failed, collapsed)))

    def __str__(self) -> str:
        counts = f"n={len(self.scores)}" if len(self.scores) < self.asked else ""
        if self.estimate is None:
            return "failed" if self.failed else "missing"
        remarks = ", ".join(filter(None, (counts, self.lost)))
        return f"{self.estimate}" + (f" ({remarks})" if remarks else "")


@dataclass(frozen=True)
class Results:
    """A table and the measured results of its cells."""

    table: TableSpec
    places: dict[Place, Measured]

    def at(self, backbone: str, row: str, column: str) -> Measured:
        """Return the results of a cell; `avg` averages over tasks within each seed."""
        if column == AVERAGE:
            return self._average(backbone, row)
        return self.places.get(Place(backbone, row, column), _nothing(self.table.seeds))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, the average last."""
        return (*(c.name for c in self.table.columns), *((AVERAGE,) if self.table.average else ()))

    @property
    def tested(self) -> tuple[str, ...]:
        """Names of the columns to test: the average, and the columns that it does not include."""
        return tuple(name for name in self.columns if name not in self.table.average)

    def label(self, row: str) -> str:
        """Return the printed name of a row."""
        return next((r.label for r in self.table.rows if r.name == row), row)

    def _average(self, backbone: str, row: str) -> Measured:
        parts = [self.at(backbone, row, column) for column in self.table.average]
        scores = average([part.scores for part in parts])
        failed = frozenset[int]().union(*(part.failed for part in parts))
        collapsed = frozenset[int]().union(*(part.collapsed for part in parts))
        return Measured(scores, {}, self.table.seeds, failed, collapsed - failed)


def read_cell(cell: Cell) -> State:
    """Return the state of a cell's run, from the run's files."""
    return read_state(cell.request.folder)


def measure(table: TableSpec, state: Callable[[Cell], State] = read_cell) -> Results:
    """Read the records of a table's runs.

    Args:
        table: the table.
        state: returns the state of a cell's run; by default from the run's files.

    Raises:
        ConfigError: the overrides of a cell are wrong.
        RecordError: a record cannot be read, or lacks a column's metric.
    """
    columns = {column.name: column for column in table.columns}
    at_place: dict[Place, list[Cell]] = defaultdict(list)
    for cell in list_cells(table):
        at_place[Place(cell.backbone, cell.row, cell.column)].append(cell)
    return Results(
        table,
        {
            place: _measured(columns[place.column], [(c.seed, state(c)) for c in found])
            for place, found in at_place.items()
        },
    )


def backbone_of(column: Column, backbone: str) -> str:
    """Return the backbone of a column: the one in its own overrides, else `backbone`."""
    own = [word.partition("=")[2] for word in column.overrides if word.startswith("backbone=")]
    return (own or [backbone])[-1]


def describe_lost(
    results: Results, backbone: str, rows: Sequence[str], columns: Sequence[str]
) -> list[str]:
    """Return one text for each row with failed or collapsed seeds in these columns."""
    found = [
        (results.label(row), column, results.at(backbone, row, column).lost)
        for row in rows
        for column in columns
    ]
    return [f"{label}, {column}: {lost}" for label, column, lost in found if lost]


def main_score(record: RunRecord, metric: str) -> float | None:
    """Return a run's score in percent, or None if it is not finite.

    Raises:
        RecordError: the run has no such metric.
    """
    scores = record.result.get("scores", {})
    if metric not in scores:
        where = record.folder / RESULT_FILE
        raise RecordError(f"{where}: {unknown('metric', metric, scores)}")
    return None if scores[metric] is None else 100 * float(scores[metric])


def _measured(column: Column, states: Iterable[tuple[int, State]]) -> Measured:
    found = sorted(states, key=lambda each: each[0])
    records = {seed: state.record for seed, state in found if isinstance(state, Done)}
    scores = {seed: main_score(record, column.metric) for seed, record in records.items()}
    finite = {seed: score for seed, score in scores.items() if score is not None}
    failed = {seed for seed, state in found if isinstance(state, Failed)} | (scores.keys() - finite)
    collapsed = {seed for seed in finite if records[seed].result.get("collapsed")}
    return Measured(finite, records, len(found), frozenset(failed), frozenset(collapsed))


def _nothing(asked: int) -> Measured:
    return Measured({}, {}, asked)
