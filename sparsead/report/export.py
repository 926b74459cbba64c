"""Runs as one table for other programs: a line for each, with its options, scores and history."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sparsead.report.formats import FORMATS
from sparsead.runs.listing import COLUMNS, Listed, Row
from sparsead.runs.record import RunRecord

_SHOWN = (
    *("backbone.name", "task.name", "adapter.name", "adapter.bottleneck", "pruner.name"),
    *("sparsity", "seed"),
)
"""Keys of a configuration that the columns of every list show."""


def export_rows(runs: Sequence[Listed]) -> list[Row]:
    """Return one row for each run, all with the same columns.

    After `COLUMNS` come the configuration keys in which the runs differ, as JSON text where they
    are lists; every score, in percent; and `history.NAME`, a list with one value for each epoch.
    """
    keys = _differing([run.config for run in runs])
    rows = [
        run.row
        | {key: _plain(run.config.get(key)) for key in keys}
        | ({} if run.record is None else _measured(run.record))
        for run in runs
    ]
    columns = dict.fromkeys([*COLUMNS, *keys, *(name for row in rows for name in row)])
    filled = [dict.fromkeys(columns) | row for row in rows]
    for column in columns:
        if len({type(row[column]) for row in filled if row[column] is not None}) > 1:
            for row in filled:
                row[column] = None if row[column] is None else str(row[column])
    return filled


def _differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for config in configs for key in config if key not in _SHOWN)
    return [key for key in keys if len({json.dumps(config.get(key)) for config in configs}) > 1]


def _measured(record: RunRecord) -> Row:
    """Return the scores and the history of a run; the list's record is without its history."""
    result = RunRecord.read(record.folder).result
    measured = {name: _percent(score) for name, score in result["scores"].items()}
    chosen_by = result.get("selection", {})
    measured |= {f"selection {name}": _percent(score) for name, score in chosen_by.items()}
    epochs = result.get("history", [])
    history: dict[str, list[Any]] = {}
    for number, epoch in enumerate(epochs):
        scores = {name: _percent(score) for name, score in epoch.get("scores", {}).items()}
        for name, value in {**epoch, **scores}.items():
            if name != "scores":
                history.setdefault(name, [None] * len(epochs))[number] = value
    return measured | {f"history.{name}": values for name, values in history.items()}


def _percent(score: float | None) -> float | None:
    return None if score is None else 100 * score


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _to_parquet(runs: Sequence[Listed]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    rows = export_rows(runs)
    names = rows[0] if rows else COLUMNS
    table = pyarrow.table({name: [row[name] for row in rows] for name in names})
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _to_csv(runs: Sequence[Listed]) -> bytes:
    rows = [{name: _plain(value) for name, value in row.items()} for row in export_rows(runs)]
    return FORMATS["csv"](COLUMNS, rows).encode("utf-8")


def _to_json(runs: Sequence[Listed]) -> bytes:
    return FORMATS["json"](COLUMNS, export_rows(runs)).encode("utf-8")


EXPORTS: dict[str, Callable[[Sequence[Listed]], bytes]] = {
    ".parquet": _to_parquet,
    ".csv": _to_csv,
    ".json": _to_json,
}
"""What a file of runs contains, by its suffix."""
