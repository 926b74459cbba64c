"""What differs between two runs: configuration, data, environment, origin and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparsead.report.formats import to_plain
from sparsead.report.screen import screen_width
from sparsead.runs.listing import flatten, flatten_config
from sparsead.runs.record import RunRecord

_LEFT_OUT = ("peak_memory_bytes",)
"""Measurements that differ between any two runs."""
_COLUMNS = ("key", "run", "against")
_DIGITS = 6
"""Digits of a score in percent behind the point: enough for any two that differ."""
_CUT = "…"
_GAP = 2
"""Spaces between two columns."""
_LEAST = 8
"""Characters of a value that are shown on the narrowest terminal."""


def describe_differences(record: RunRecord, other: RunRecord) -> str:
    """Return a table of the keys in which two runs differ, with the value of each.

    A package that only one of the environments has is shown as such: its value there is empty.
    """
    ours, theirs = list_values(record), list_values(other)
    rows = [
        {"key": key, "run": _shown(ours.get(key)), "against": _shown(theirs.get(key))}
        for key in dict.fromkeys((*ours, *theirs))
        if ours.get(key) != theirs.get(key)
    ]
    if not rows:
        return "no difference in configuration, data, environment, origin and scores\n"
    return _fitted(rows)


def _fitted(rows: Sequence[dict[str, str]]) -> str:
    """Return the table; at a terminal, values that are too long for it are cut."""
    width = screen_width()
    if width is None:
        return to_plain(_COLUMNS, rows)
    keys = max(len(row["key"]) for row in rows)
    room = max(_LEAST, (width - keys) // 2 - _GAP - 1)
    cut = [row | {side: _cut(row[side], room) for side in _COLUMNS[1:]} for row in rows]
    note = f"Values that end in {_CUT} are cut; a file or a pipe gets them whole.\n"
    return to_plain(_COLUMNS, cut) + (note if cut != list(rows) else "")


def _cut(value: str, room: int) -> str:
    return value if len(value) <= room else value[: room - 1] + _CUT


def list_values(record: RunRecord) -> dict[str, Any]:
    """Return what two runs are compared in, by keys; scores are in percent."""
    result = RunRecord.read(record.folder).result
    scores = {
        name: None if score is None else round(100 * score, _DIGITS)
        for name, score in result["scores"].items()
    }
    parts = {
        "data": result.get("data", {}),
        "sources": result.get("sources", {}),
        "score": scores,
        "environment": {
            k: v for k, v in result.get("environment", {}).items() if k not in _LEFT_OUT
        },
        "provenance": result.get("provenance", {}),
    }
    return flatten_config(result["config"]) | flatten(parts)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
