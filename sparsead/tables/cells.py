"""A table: its rows, its columns, and its cells, each of which is one run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from sparsead.config.run import RunSpec
from sparsead.config.schema import check_name
from sparsead.config.search import Point, SearchSpec
from sparsead.config.seeds import Seeds
from sparsead.errors import ConfigError
from sparsead.progress import stage
from sparsead.runs.prerequisites import (
    find_prerequisites,
    format_sources_override,
    is_ready_as_source,
    resolve_sources,
)
from sparsead.runs.request import RunRequest
from sparsead.tables.choice import find_choice
from sparsead.tables.composed import compose_all
from sparsead.tables.run_checks import check_metric, check_rows_differ

AVERAGE = "avg"
"""The key of a row's published average, and of a #param that holds for all columns."""


@dataclass
class Published:
    """The numbers that the paper prints for one row, in percent, by column name or `avg`.

    `params` holds the share of trained parameters, #param. `backbone` is the paper's backbone; None
    applies to any.
    """

    backbone: str | None = None
    params: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)


@dataclass
class Row:
    """A method: an experiment of conf/experiment, further overrides, or both.

    Attributes:
        name: how the table's other keys refer to the row; by default the last part of the
            experiment's name, or the label.
        label: the printed name; by default `name`.
        overrides: overrides of `sparsead train`, besides the experiment.
        experiment: name of a file in conf/experiment, or None.
        series: name of the line to which a figure joins the row; None for no line.
        published: the paper's numbers, one entry per backbone.
        sources: name of an earlier row, whose runs, one per column, are the sources of this row's
            runs; None for no sources.
        not_run: names of the columns in which the row has no runs, each with the reason, which is
            printed below the table.
    """

    name: str = ""
    label: str = ""
    overrides: list[str] = field(default_factory=list)
    experiment: str | None = None
    series: str | None = None
    published: list[Published] = field(default_factory=list)
    sources: str | None = None
    not_run: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.name or (self.experiment or self.label).rpartition("/")[2]
        self.label = self.label or self.name
        if not self.name:
            raise ConfigError("has neither name, nor experiment, nor label")

    def published_for(self, backbone: str) -> Published | None:
        """Return the paper's numbers for this backbone, else those of the last entry."""
        mine = [entry for entry in self.published if entry.backbone in (backbone, None)]
        printed = mine or self.published
        return printed[-1] if printed else None


@dataclass
class Column:
    """A task and one of its metrics; `name` is by default the task's, and `label` the name.

    `overrides`, such as a backbone or a bottleneck, apply to this column only. `note` is a sentence
    that is printed below the table.
    """

    task: str
    metric: str
    name: str = ""
    label: str = ""
    overrides: list[str] = field(default_factory=list)
    note: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or self.task
        self.label = self.label or self.name


@dataclass
class TableSpec:
    """A table: rows by columns, for each backbone, over the seeds 1 to `seeds`.

    Attributes:
        name: name of the table's file, without the suffix.
        title: the title, one line.
        rows: the rows, in printed order.
        columns: the columns, in printed order.
        backbones: the backbones, each with its own group of rows; a column's overrides take
            precedence.
        seeds: number of seeds.
        protocol: the protocol of every cell; None keeps the protocol of each row.
        average: names of the columns to average; empty for no average column.
        average_label: heading of the average column.
        baseline: name of the dense row with which others are compared, or None.
        baseline_label: what the notes below the table call that row.
        comparisons: names of the rows that are tested against the baseline.
        tested: names of columns in which they are also tested, besides the average and the columns
            that it does not include.
        claims: the claims to test, each with `text`, `kind` and the keys of that kind.
        overrides: overrides of `sparsead train` that apply to every cell.
        search: the grid from which one point is chosen for each row and column; None: no search.
        notes: sentences that are printed below the table.
        options: of the table's figure: its `kind`.
    """

    name: str
    title: str
    rows: list[Row]
    columns: list[Column]
    backbones: list[str] = field(default_factory=lambda: ["minilm"])
    seeds: int = 10
    protocol: str | None = None
    average: list[str] = field(default_factory=list)
    average_label: str = "avg"
    baseline: str | None = None
    baseline_label: str = "the dense row"
    comparisons: list[str] = field(default_factory=list)
    tested: list[str] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    search: SearchSpec | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("name", self.name)
        if twice := [name for name in self.backbones if self.backbones.count(name) > 1]:
            raise ConfigError(f"backbone={twice[0]}: is given twice; give each backbone once")


@dataclass(frozen=True)
class Cell:
    """One run of a table: a row, a backbone, a column and a seed.

    `overrides` are those with which `sparsead train` trains this run; `request` is the run. `needs`
    are its prerequisites, as long as they are not all recorded; until then the run cannot be
    trained, and its identity is unknown because it depends on their weights. `point` is the run's
    point of the grid, if the table has a search.
    """

    row: str
    column: str
    backbone: str
    seed: int
    overrides: tuple[str, ...]
    request: RunRequest
    needs: tuple[RunRequest, ...] = ()
    point: Point | None = None

    @property
    def spec(self) -> RunSpec:
        """The run's configuration."""
        return self.request.spec

    @property
    def waits(self) -> bool:
        """Whether other runs have to be finished first."""
        return bool(self.needs)


def list_cells(table: TableSpec) -> list[Cell]:
    """Return the table's cells, ordered by backbone, then column, then row, then seed.

    Two columns with the same task share their runs: their cells differ only in the column. With a
    search, there is a cell for each point of the grid as well.

    Raises:
        ConfigError: the overrides of a cell are wrong, ask for runs to be trained again, or make
            two rows the same runs, or its task lacks the column's metric.
    """
    places = [
        (backbone, column, row)
        for backbone in table.backbones
        for column in table.columns
        for row in table.rows
        if column.name not in row.not_run
    ]
    overrides = [_overrides(table, *place) for place in places]
    with stage(f"composing the runs of {table.name}"):
        for request in compose_all(overrides[:1]):  # before the hundreds that follow
            request.refuse_rerun("a table")
        requests = compose_all(overrides)
    for (_, column, _), request in zip(places, requests, strict=True):
        check_metric(table.name, column, request.spec)
        request.refuse_rerun("a table")
    check_rows_differ(table.name, places, [request.spec for request in requests])
    return [
        cell
        for place, chosen, request in zip(places, overrides, requests, strict=True)
        for cell in _over_seeds(table, place, chosen, request)
    ]


def runs_by_point(cells: Iterable[Cell]) -> dict[Point, list[RunRequest]]:
    """Return the runs of one cell of a searched table by their point, one for each seed."""
    runs: dict[Point, list[RunRequest]] = defaultdict(list)
    for cell in cells:
        if cell.point is not None:
            runs[cell.point].append(cell.request)
    return runs


def by_place(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Return the cells of each backbone, row and column."""
    places: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        places[cell.backbone, cell.row, cell.column].append(cell)
    return list(places.values())


Place = tuple[str, Column, Row]


def _over_seeds(
    table: TableSpec, place: Place, chosen: tuple[str, ...], request: RunRequest
) -> Iterator[Cell]:
    backbone, column, row = place
    sources = _source_runs(table, backbone, row)
    used: dict[Seeds, int] = {}
    for seed in range(1, table.seeds + 1):
        overrides = (*chosen, f"seed={seed}")
        seeded = _with_seed(request, seed)
        first = used.setdefault(seeded.spec.seeds, seed)
        if first != seed:
            raise ConfigError(
                f"{table.name}: row {row.name}: the runs of seed={first} and seed={seed} are the "
                "same, because seed_data, seed_init and seed_mask are given; leave one of them out"
            )
        cell = Cell(row.name, column.name, backbone, seed, overrides, seeded)
        needs = [_with_seed(run, seed) for run in sources.runs]
        if row.sources is None:
            needs = [replace(request, spec=s) for s in find_prerequisites(seeded.spec, overrides)]
        if not sources.chosen or not all(is_ready_as_source(run.folder) for run in needs):
            cell = replace(cell, needs=tuple(needs))
        else:
            cell = _ready(cell, row, [run.folder for run in needs])
        yield from _at_points(table, cell)


def _at_points(table: TableSpec, cell: Cell) -> list[Cell]:
    """Return the cell once for each point of the table's grid; without a search, as it is."""
    if table.search is None:
        return [cell]
    return [
        replace(
            cell,
            overrides=(*cell.overrides, *point.overrides),
            request=_at_point(cell.request, point),
            point=point,
        )
        for point in table.search.points
    ]


def _at_point(request: RunRequest, point: Point) -> RunRequest:
    spec = request.spec
    return replace(request, spec=replace(spec, protocol=point.applied(spec.protocol)))


class _Sources(NamedTuple):
    """The runs that a row starts from, each with any seed.

    They are one run for each column, or, as long as a search has not `chosen` a point in every
    column, the runs of all points.
    """

    runs: list[RunRequest]
    chosen: bool


def _source_runs(table: TableSpec, backbone: str, row: Row) -> _Sources:
    """Return the runs of the row that `row.sources` names."""
    if row.sources is None:
        return _Sources([], chosen=True)
    (sources,) = (above for above in table.rows if above.name == row.sources)
    columns = [column for column in table.columns if column.name not in sources.not_run]
    runs = compose_all([_overrides(table, backbone, column, sources) for column in columns])
    if table.search is None:
        return _Sources(runs, chosen=True)
    points = [_chosen_point(table, table.search, run) for run in runs]
    if None in points:
        every = [_at_point(run, point) for run in runs for point in table.search.points]
        return _Sources(every, chosen=False)
    return _Sources([_at_point(r, p) for r, p in zip(runs, points, strict=True) if p], chosen=True)


def _chosen_point(table: TableSpec, search: SearchSpec, request: RunRequest) -> Point | None:
    seeded = [_with_seed(request, seed) for seed in range(1, table.seeds + 1)]
    runs = {point: [_at_point(each, point) for each in seeded] for point in search.points}
    return find_choice(search, runs).point


def _with_seed(request: RunRequest, seed: int) -> RunRequest:
    return replace(request, spec=replace(request.spec, seed=seed))


def _ready(cell: Cell, row: Row, done: Sequence[Path]) -> Cell:
    """Return the cell with its sources, the folders `done`, filled in; most cells have none."""
    overrides, request = cell.overrides, cell.request
    if row.sources is not None:
        overrides, done = (*overrides, format_sources_override(done)), ()
        (request,) = compose_all([overrides])
    spec = resolve_sources(request.spec, request.outputs, done)
    return replace(cell, overrides=overrides, request=replace(request, spec=spec))


def _overrides(table: TableSpec, backbone: str, column: Column, row: Row) -> tuple[str, ...]:
    protocol = () if table.protocol is None else (f"protocol={table.protocol}",)
    shared = (f"backbone={backbone}", f"task={column.task}", *protocol)
    experiment = () if row.experiment is None else (f"experiment={row.experiment}",)
    chosen = (*shared, *experiment, *row.overrides, *column.overrides, *table.overrides)
    groups = [override for override in chosen if override.partition("=")[0] in _ONCE]
    # Hydra refuses a group that is overridden twice: keep the last override of each group.
    last = {override.partition("=")[0]: override for override in groups}
    return (*last.values(), *(override for override in chosen if override not in groups))


_ONCE = ("experiment", "backbone", "task", "protocol", "adapter", "pruner")
