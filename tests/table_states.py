"""Tables and states of their runs, made without training and without composing configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sparsead.report import results
from sparsead.report.formats import FORMATS
from sparsead.report.results import Results
from sparsead.report.settings import group_by_setting, list_columns
from sparsead.runs.index import read_summaries
from sparsead.runs.record import RunRecord
from sparsead.runs.request import RunRequest
from sparsead.runs.states import Done, Failed, Missing, State
from sparsead.tables.cells import Cell, TableSpec

Score = Callable[[Cell], Mapping[str, float | None] | str]
"""Scores of a run by metric, as shares; or `failed`, or `missing`.

A score under the name `collapsed` says that the run predicted the same for every example.
"""


def state_of(cell: Cell, metric: str, score: Score, seconds: float = 1.0) -> State:
    """Return the state of a cell's run, with a history that rises to its scores in four epochs."""
    scores = score(cell)
    if isinstance(scores, str):
        return Failed({"error": "it broke"}) if scores == "failed" else Missing()
    collapsed = "collapsed" in scores
    scores = {name: value for name, value in scores.items() if name != "collapsed"}
    main = scores[metric]
    steps = [(epoch, 0.0 if main is None else main * epoch / 4) for epoch in range(1, 5)]
    result: dict[str, Any] = {
        "config": {
            "task": {"name": cell.column},
            "protocol": {"epochs": 4},
            "seed": cell.seed,
            "outputs": "o",
        },
        "scores": scores,
        "collapsed": collapsed,
        "history": [{"epoch": float(e), "scores": {metric: value}} for e, value in steps],
        "parameters": {"nominal": 0.0123, "backbone": 1_000_000},
        "sparsity": {"realised": sparsity_of(cell.row)},
        "seconds": {"train": seconds},
        "environment": {"device": {"kind": "cpu"}, "precision": "fp32"},
    }
    name = f"{cell.backbone}_{cell.column}_{cell.row}_{cell.seed}"
    return Done(RunRecord(Path("/outputs/runs") / name, result))


def sparsity_of(row: str) -> float:
    """Return the sparsity that a row's name ends with, in percent: snip-40."""
    digits = row.rpartition("-")[2]
    return int(digits) / 100 if digits.isdecimal() else 0.0


def measured(
    table: TableSpec, score: Score, monkeypatch: pytest.MonkeyPatch, seconds: float = 1.0
) -> Results:
    """Measure a table whose runs have these scores; no configuration is composed."""
    every = cells(table)
    metrics = {column.name: column.metric for column in table.columns}
    states = {id(c.request): state_of(c, metrics[c.column], score, seconds) for c in every}
    monkeypatch.setattr(results, "list_cells", lambda _: every)
    return results.measure(table, lambda cell: states[id(cell.request)])


def cells(table: TableSpec) -> Sequence[Cell]:
    """Return the cells of a table, each with a distinct placeholder for its request."""
    return [
        Cell(row.name, column.name, backbone, seed, (), _token())
        for backbone in table.backbones
        for column in table.columns
        for row in table.rows
        if column.name not in row.not_run
        for seed in range(1, table.seeds + 1)
    ]


def table_of(outputs: Path) -> str:
    """Return the table of all records without the column that differs each time, the seconds."""
    rows = group_by_setting(read_summaries(outputs))
    shown = [column for column in list_columns(rows) if column != "seconds"]
    return FORMATS["md"](shown, rows)


def _token() -> RunRequest:
    return object.__new__(RunRequest)
