"""What differs between two runs: configuration, environment, origin and scores."""

from __future__ import annotations

from typing import Any

from sparsead.report.formats import to_plain
from sparsead.runs.listing import flatten, flatten_config
from sparsead.runs.record import RunRecord

_LEFT_OUT = ("peak_memory_bytes",)
"""Measurements that differ between any two runs."""
_COLUMNS = ("key", "run", "against")


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
        return "no difference in configuration, environment, origin and scores\n"
    return to_plain(_COLUMNS, rows)


def list_values(record: RunRecord) -> dict[str, Any]:
    """Return what two runs are compared in, by keys; scores are in percent."""
    result = RunRecord.read(record.folder).result
    scores = {
        name: None if score is None else round(100 * score, 2)
        for name, score in result["scores"].items()
    }
    parts = {
        "score": scores,
        "environment": {
            k: v for k, v in result.get("environment", {}).items() if k not in _LEFT_OUT
        },
        "provenance": result.get("provenance", {}),
    }
    return flatten_config(result["config"]) | flatten(parts)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)
