"""Whether two runs were evaluated on the same examples, as far as their records say."""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose
from typing import Any

from sparsead.runs.record import RunRecord

_COUNTED = ("examples", "classes", "numbers")
"""What a record says of a split that does not depend on the versions of libraries."""


def differ_in_examples(one: RunRecord, other: RunRecord) -> bool:
    """Tell whether two runs were certainly evaluated on different examples.

    That is so if a split has another number of examples, other numbers of examples of the classes,
    or another mean or deviation of the numbers to predict. The hash of the rows decides only if
    both runs had the same versions of all libraries, on which it depends.
    """
    ours, theirs = _evaluated(one), _evaluated(other)
    keys = list(_COUNTED)
    if _packages(one) == _packages(other):
        keys.append("sha256")
    return any(
        not _agree(ours[split].get(key), theirs[split].get(key))
        for split in ours.keys() & theirs.keys()
        for key in keys
    )


def _evaluated(record: RunRecord) -> dict[str, Mapping[str, Any]]:
    """Return what the record says of each split on which the run was scored after its training.

    A run that holds out a part of train calls that part `validation`, and the task's own validation
    split `test`.
    """
    data = record.result.get("data", {})
    splits: dict[str, Mapping[str, Any]] = {
        name: each for name, each in data.items() if isinstance(each, dict)
    }
    splits.pop("train", None)
    if record.holds_out and "test" in splits:
        splits["validation"] = splits.pop("test")
    return splits


def _packages(record: RunRecord) -> Any:
    return record.result.get("environment", {}).get("packages")


def _agree(one: Any, other: Any) -> bool:
    """Tell whether two values are equal, or one is not known; numbers may differ by rounding."""
    if one is None or other is None:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_agree(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return isclose(one, other, rel_tol=1e-9)
    return bool(one == other)
