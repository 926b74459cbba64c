"""The measured scores of a table, read only from the records of its runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sparsead.config.search import Point
from sparsead.errors import ConfigError, RecordError, unknown
from sparsead.report.evaluated import differ_in_examples
from sparsead.report.repeated import find_repeated
from sparsead.report.statistics import Estimate, Scores, average, pair_differences
from sparsead.runs.record import RESULT_FILE, RunRecord, known_direction, without_split
from sparsead.runs.states import Done, Failed, State, read_state
from sparsead.tables.cells import AVERAGE, Cell, Column, TableSpec, list_cells
from sparsead.tables.choice import Choice, choose_point
from sparsead.tables.columns import list_columns, tested_columns

NOT_RUN = "–"
"""Stands in the cells of a column in which a row has no runs."""

DIFFERENT_EXAMPLES = "evaluated on different examples"
"""Why two rows cannot be compared in a column."""

_UNITS = {
    "mae": "hundredths of the labels' unit",
    "mse": "hundredths of the labels' unit squared",
}
_UNKNOWN_UNIT = "100 times the score"

_ERDOS_RENYI = ("er", "erk")


class Place(NamedTuple):
    """The position of a table cell: backbone, row and column; the column may be `avg`."""

    backbone: str
    row: str
    column: str


@dataclass(frozen=True)
class Measured:
    """The measured results of one table cell over its seeds.

    Attributes:
        scores: scores in percent by seed; a score that is not finite is left out, and so is that of
            a run that repeats another one.
        records: records of the finished runs by seed.
        asked: number of seeds that the table asks for; 0 where the row has no runs in the column.
        failed: the seeds that failed or whose score is not finite.
        collapsed: the seeds whose predictions are all the same; they do have a score.
        repeated: the seeds whose run is that of a smaller seed, to the last bit.
        choice: the state of the search for this cell's point; None without a search. The scores are
            those at the chosen point, and there are none before it is chosen.
    """

    scores: Scores
    records: dict[int, RunRecord]
    asked: int
    failed: frozenset[int] = frozenset()
    collapsed: frozenset[int] = frozenset()
    choice: Choice | None = None
    repeated: frozenset[int] = frozenset()

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
        if not self.asked:
            return NOT_RUN
        counts = f"n={len(self.scores)}" if len(self.scores) < self.asked else ""
        if self.estimate is None:
            return self._searching or ("failed" if self.failed else "missing")
        remarks = ", ".join(filter(None, (counts, self.lost)))
        point = f" [{self.choice.point}{self._chosen_on}]" if self.choice is not None else ""
        return f"{self.estimate}{point}" + (f" ({remarks})" if remarks else "")

    @property
    def _chosen_on(self) -> str:
        """A label of scores whose point was chosen on the dev set itself."""
        return "" if all(r.holds_out for r in self.records.values()) else "; chosen on dev"

    @property
    def _searching(self) -> str:
        if self.choice is None or self.choice.is_over:
            return ""
        return f"{self.choice.finished} of {self.choice.points} points"


@dataclass(frozen=True)
class Results:
    """A table and the measured results of its cells."""

    table: TableSpec
    places: dict[Place, Measured]

    def at(self, backbone: str, row: str, column: str) -> Measured:
        """Return the results of a cell; `avg` averages over tasks within each seed."""
        if column == AVERAGE:
            return self._average(backbone, row)
        asked = 0 if column in self._not_run(row) else self.table.seeds
        return self.places.get(Place(backbone, row, column), _nothing(asked))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, the average last."""
        return list_columns(self.table)

    @property
    def tested(self) -> tuple[str, ...]:
        """Names of the columns to test."""
        return tested_columns(self.table)

    def direction(self, column: str) -> int:
        """Return 1 if a higher score of the column is better, −1 if a lower one is.

        A column whose runs are to come may have a metric of the user's own, of which only they can
        tell the direction; it then counts as 1.

        Raises:
            ConfigError: the average is over columns of both directions.
            RecordError: the column's runs do not say which values of their score are better.
        """
        columns = self.table.average if column == AVERAGE else [column]
        found = {self._prefers_higher(name) for name in columns} - {None}
        if len(found) > 1:
            better = "a higher score is better in some of these columns, a lower one in others"
            raise ConfigError(f"{self.table.name}: average={self.table.average}: {better}")
        return -1 if False in found else 1

    def share_examples(self, backbone: str, row: str, other: str, column: str) -> bool:
        """Tell whether two rows were evaluated on the same examples, as far as their records say.

        Where they were not, a difference of their scores says nothing of the rows.
        """
        for name in self.table.average if column == AVERAGE else [column]:
            ours, theirs = (self.at(backbone, each, name).records for each in (row, other))
            if any(differ_in_examples(ours[seed], theirs[seed]) for seed in ours.keys() & theirs):
                return False
        return True

    def improvements(self, backbone: str, row: str, over: str, column: str) -> list[float]:
        """Return by how many points `row` is better than `over`, for each paired seed, sorted.

        There are none if the rows were evaluated on different examples.
        """
        if not self.share_examples(backbone, row, over, column):
            return []
        one, other = (self.at(backbone, name, column).scores for name in (row, over))
        sign = self.direction(column)
        return sorted(sign * difference for difference in pair_differences(one, other))

    def records_at(self, backbone: str, row: str, column: str) -> Iterator[RunRecord]:
        """Yield the finished runs of a cell; `avg` has those of all columns."""
        columns = [each.name for each in self.table.columns] if column == AVERAGE else [column]
        for name in columns:
            yield from self.at(backbone, row, name).records.values()

    def every_run(self) -> list[RunRecord]:
        """Return each finished run once: columns of one task share their runs."""
        every = [record for each in self.places.values() for record in each.records.values()]
        return list({record.folder: record for record in every}.values())

    def label(self, row: str) -> str:
        """Return the printed name of a row."""
        return next((r.label for r in self.table.rows if r.name == row), row)

    def _prefers_higher(self, column: str) -> bool | None:
        """Return whether a higher score of a column is better; None if only its runs will tell."""
        metric = next((c.metric for c in self.table.columns if c.name == column), "")
        for place, measured in self.places.items():
            for record in measured.records.values() if place.column == column else ():
                return record.prefers_higher(metric)
        return known_direction(without_split(metric))

    def _average(self, backbone: str, row: str) -> Measured:
        parts = [self.at(backbone, row, column) for column in self.table.average]
        scores = average([part.scores for part in parts])
        failed = frozenset[int]().union(*(part.failed for part in parts))
        collapsed = frozenset[int]().union(*(part.collapsed for part in parts))
        asked = 0 if any(not part.asked for part in parts) else self.table.seeds
        return Measured(scores, {}, asked, failed, collapsed - failed)

    def _not_run(self, row: str) -> Mapping[str, str]:
        return next((each.not_run for each in self.table.rows if each.name == row), {})


def read_cell(cell: Cell) -> State:
    """Return the state of a cell's run, from the run's files."""
    return read_state(cell.request.folder)


def measure(table: TableSpec, state: Callable[[Cell], State] = read_cell) -> Results:
    """Read the records of a table's runs.

    Args:
        table: the table.
        state: returns the state of a cell's run; by default from the run's files.

    Raises:
        ConfigError: the overrides of a cell are wrong, or the average is over columns of both
            directions.
        RecordError: a record cannot be read, or lacks a column's metric or its direction.
    """
    columns = {column.name: column for column in table.columns}
    at_place: dict[Place, list[Cell]] = defaultdict(list)
    for cell in list_cells(table):
        at_place[Place(cell.backbone, cell.row, cell.column)].append(cell)
    places = {
        place: _searched(table, columns[place.column], [(c, state(c)) for c in found])
        for place, found in at_place.items()
    }
    results = Results(table, places)
    results.direction(AVERAGE)  # refuses an average over both directions
    return results


def describe_unit(results: Results, column: str) -> str:
    """Return the unit of a column's numbers, which are 100 times the recorded scores.

    That is percent, but not of errors, of which lower ones are better: those of a metric of one's
    own may have any unit. An average of columns of several such units has none.
    """
    if results.direction(column) > 0:
        return "%"
    names = results.table.average if column == AVERAGE else [column]
    metrics = [each.metric for each in results.table.columns if each.name in names]
    splits = {name for record in results.every_run() for name in record.result.get("data", ())}
    units = {_UNITS.get(without_split(metric, splits), _UNKNOWN_UNIT) for metric in metrics}
    return units.pop() if len(units) == 1 else _UNKNOWN_UNIT


def backbone_of(column: Column, backbone: str) -> str:
    """Return the backbone of a column: the one in its own overrides, else `backbone`."""
    own = [word.partition("=")[2] for word in column.overrides if word.startswith("backbone=")]
    return (own or [backbone])[-1]


def describe_lost(
    results: Results, backbone: str, rows: Sequence[str], columns: Sequence[str]
) -> list[str]:
    """Return one text for each row with failed or collapsed seeds in these columns.

    There is one as well for each column in which the rows were evaluated on different examples.
    """
    found = [
        (results.label(row), column, results.at(backbone, row, column).lost)
        for row in rows
        for column in columns
    ]
    different = [
        f"{results.label(row)} and {results.label(rows[0])} in {column}: {DIFFERENT_EXAMPLES}"
        for row in rows[1:]
        for column in columns
        if not results.share_examples(backbone, row, rows[0], column)
    ]
    return [f"{label} in {column}: {lost}" for label, column, lost in found if lost] + different


def is_random_pruning(results: Results, backbone: str, row: str) -> bool:
    """Tell whether a row is Erdős–Rényi pruning that removes the same share of every tensor.

    It does so where all shapes are equal, and is then random pruning under another name.
    """
    records = [
        record
        for column in results.table.columns
        for record in results.at(backbone, row, column.name).records.values()
    ]
    return bool(records) and all(_is_uniform(record) for record in records)


def _is_uniform(record: RunRecord) -> bool:
    method = record.result.get("config", {}).get("pruner", {}).get("method")
    tensors = list(record.result.get("sparsity", {}).get("by_tensor", {}).values())
    if method not in _ERDOS_RENYI or not tensors:
        return False
    total = sum(each["total"] for each in tensors)
    share = sum(each["removed"] for each in tensors) / max(total, 1)
    # Counts are rounded to whole weights.
    return all(abs(each["removed"] - share * each["total"]) <= 1 for each in tensors)


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


def _searched(table: TableSpec, column: Column, states: Sequence[tuple[Cell, State]]) -> Measured:
    """Return the results of a cell of the table: with a search, those of the chosen point."""
    if table.search is None:
        return _measured(column, [(cell.seed, state) for cell, state in states])
    by_point: dict[Point, list[tuple[Cell, State]]] = defaultdict(list)
    for cell, state in states:
        if cell.point is not None:
            by_point[cell.point].append((cell, state))
    choice = choose_point(
        table.search,
        {point: [cell.request for cell, _ in each] for point, each in by_point.items()},
        {point: [state for _, state in each] for point, each in by_point.items()},
    )
    if choice.point is not None:
        chosen = [(cell.seed, state) for cell, state in by_point[choice.point]]
        return replace(_measured(column, chosen), choice=choice)
    lost = frozenset(range(1, table.seeds + 1)) if choice.is_over else frozenset[int]()
    return Measured({}, {}, table.seeds, lost, choice=choice)


def _measured(column: Column, states: Iterable[tuple[int, State]]) -> Measured:
    found = sorted(states, key=lambda each: each[0])
    records = {seed: state.record for seed, state in found if isinstance(state, Done)}
    scores = {seed: main_score(record, column.metric) for seed, record in records.items()}
    finite = {seed: score for seed, score in scores.items() if score is not None}
    failed = {seed for seed, state in found if isinstance(state, Failed)} | (scores.keys() - finite)
    repeated = find_repeated(records)
    once = {seed: score for seed, score in finite.items() if seed not in repeated}
    collapsed = {seed for seed in once if records[seed].result.get("collapsed")}
    return Measured(
        once, records, len(found), frozenset(failed), frozenset(collapsed), repeated=repeated
    )


def _nothing(asked: int) -> Measured:
    return Measured({}, {}, asked)
