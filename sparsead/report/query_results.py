"""The runs that filters choose, as a table of one row a setting, for figures and HTML reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from sparsead.config.search import GRID, Point
from sparsead.config.seeds import Seeds
from sparsead.errors import RecordError
from sparsead.report.repeated import count_once
from sparsead.report.results import Measured, Place, Results, main_score
from sparsead.report.settings import Setting, count_points_of, find_settings
from sparsead.runs.listing import find_finished, open_place
from sparsead.runs.record import RunRecord
from sparsead.tables.cells import Column, Row, TableSpec
from sparsead.tables.choice import Choice

_ORDER = ("adapter", "r", "pruner", "sparsity")
_DENSE = "none"


class _Line(NamedTuple):
    """A row of the table: how it is called, and what the rows of one series have in common."""

    label: str
    series: str | None
    order: tuple[tuple[bool, Any], ...]


@contextmanager
def open_matching(
    filters: Sequence[str], outputs: Path, archive: Path | None, name: str, purpose: str
) -> Iterator[Results]:
    """Open the finished runs that match filters, as `tabulate_settings` returns them.

    Runs that repeat another one of their setting are counted once.

    Args:
        filters: as of `sparsead runs`; all must match.
        outputs: folder of the runs.
        archive: a file of `sparsead runs pack` that is read instead; None reads `outputs`.
        name: of the table's files.
        purpose: what the runs are wanted for, such as "draw", for the message.

    Raises:
        ConfigError: a filter is malformed.
        RecordError: no run matches.
    """
    wanted = " ".join(filters)
    with open_place(outputs, archive) as place:
        records = find_finished(filters, place)
        if not records:
            where, which = archive or outputs, wanted and f" with {wanted}"
            raise RecordError(f"{where}: has no finished runs{which} to {purpose}")
        yield tabulate_settings(count_once(records), name, wanted or "all runs")


def tabulate_settings(
    records: Sequence[RunRecord], name: str, title: str, points: Mapping[str, int] | None = None
) -> Results:
    """Return the runs as a table: a row for each setting, a column for each task.

    A row is called by its adapter, pruner and sparsity, and by the keys in which it differs from
    settings that would otherwise look alike. Rows that differ only in their sparsity are of one
    series, except dense ones. Two settings never share a row: their runs would count as seeds.

    Args:
        records: of finished runs, at least one.
        name: of the table's files.
        title: of the table.
        points: if the runs are the best points of grids, the number of points of each setting's
            grid; a cell then names its point.
    """
    found: dict[Place, list[RunRecord]] = {}
    lines: dict[str, _Line] = {}
    columns: dict[str, Column] = {}
    for setting in find_settings(RunRecord.read(record.folder) for record in records):
        line, column = _line(setting), _column(setting)
        place = _choose_place(setting.place["backbone"], line.label, column.name, found)
        lines[place.row] = line._replace(label=place.row)
        columns[column.name] = column
        found[place] = setting.records
    most = max(map(len, found.values()))
    places = {
        place: replace(
            _measure(runs, columns[place.column].metric),
            asked=most,
            choice=None if points is None else _find_choice(runs[0], points),
        )
        for place, runs in found.items()
    }
    table = TableSpec(
        name=name,
        title=title,
        rows=[
            Row(line.label, line.label, series=line.series)
            for line in sorted(lines.values(), key=lambda line: (line.order, line.label))
        ],
        columns=_head_columns([columns[column] for column in sorted(columns)]),
        backbones=sorted({place.backbone for place in places}),
        seeds=most,
    )
    return Results(table, places)


def _choose_place(backbone: str, label: str, column: str, taken: Container[Place]) -> Place:
    """Return a place of a setting's own; of settings with one label all but the first are numbered.

    That is so if only digits differ that are not shown, such as the last ones of two commits.
    """
    place = Place(backbone, label, column)
    numbers = count(2)
    while place in taken:
        place = place._replace(row=f"{label} ({next(numbers)})")
    return place


def _column(setting: Setting) -> Column:
    """Return the column of a setting: its task and its main metric."""
    task = setting.place["task"]
    metric = next(iter(setting.records[0].result["scores"]))
    return Column(task, metric, name=f"{task} {metric}", label=task)


def _head_columns(columns: Sequence[Column]) -> list[Column]:
    """Return the columns with their headings, in which a task of several metrics names its metric.

    Runs of one task may have different main metrics, whose scores cannot be compared.
    """
    number = Counter(column.task for column in columns)
    return [
        column if number[column.task] == 1 else replace(column, label=column.name)
        for column in columns
    ]


def _line(setting: Setting) -> _Line:
    place = setting.place
    size = [] if place["r"] is None else [f"r={place['r']}"]
    last = Counter(key.rpartition(".")[2] for key in setting.said)
    said = [
        f"{short if last[short := key.rpartition('.')[2]] == 1 else key}={value}"
        for key, value in setting.said.items()
        if value is not None
    ]
    order = tuple((place[key] is not None, place[key]) for key in _ORDER)
    # With pruner=none, a share of the weights is trained if `adapter.start` chose them.
    pruner = [] if place["pruner"] == _DENSE else [place["pruner"]]
    name = [place["adapter"], *size, *pruner]
    if not pruner and not place["sparsity"]:
        return _Line(" ".join([*name, *said]), None, order)
    share = f"{place['sparsity']:g} %"
    return _Line(" ".join([*name, share, *said]), " ".join([*name, *said]), order)


def _find_choice(record: RunRecord, points: Mapping[str, int]) -> Choice | None:
    """Return the point of a run that was chosen; None where there was no other one."""
    number = count_points_of(record, points)
    protocol = record.result["config"]["protocol"]
    if number == 1 or not {*GRID} <= protocol.keys():
        return None
    return Choice(Point(**{key: protocol[key] for key in GRID}), number, number, failed=0)


def _measure(records: Sequence[RunRecord], metric: str) -> Measured:
    """Return the results of one cell; runs without one seed of all parts are only numbered."""
    by_seed: dict[int, RunRecord] = {}
    for number, record in enumerate(records):
        seed = Seeds.read(record.result["config"]).shared
        by_seed[-1 - number if seed is None or seed in by_seed else seed] = record
    scores = {seed: main_score(record, metric) for seed, record in by_seed.items()}
    finite = {seed: score for seed, score in scores.items() if score is not None}
    collapsed = {seed for seed in finite if by_seed[seed].result.get("collapsed")}
    lost = frozenset(scores.keys() - finite)
    return Measured(finite, by_seed, len(by_seed), lost, frozenset(collapsed))
