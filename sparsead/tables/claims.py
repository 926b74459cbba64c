"""The keys of a table's claims: each kind of claim takes its own (see `docs/protocol.md`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sparsead.errors import ConfigError, unknown, unknown_key
from sparsead.tables.cells import AVERAGE
from sparsead.tables.columns import PAPER, check_known, check_once

_COLUMNS = ("column", "columns")

KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "beats": (("row", "over"), ("points", *_COLUMNS)),
    "best": (("row", "rows"), _COLUMNS),
    "rises": (("rows",), _COLUMNS),
    "within": (("row", "of", "points"), _COLUMNS),
    "keeps": (("pairs",), ("points", *_COLUMNS)),
    "comparable": (("rows", "of", "points"), _COLUMNS),
    "earlier": (("row", "than", "share"), ("reached",)),
    "ahead": (("row", "than"), ()),
}
"""By kind: the keys that a claim needs besides `kind` and `text`, and those that it may have."""

_ONE = ("row", "over", "of", "than", "column")
_LISTS = ("rows", "columns", "pairs")
_RANGES = {"points": (0.0, math.inf), "share": (0.0, 1.0), "reached": (0.0, 1.0)}


def check_claim(claim: Mapping[str, Any], rows: Sequence[str], columns: Sequence[str]) -> None:
    """Refuse a malformed claim, or one about rows or columns that the table does not have.

    Args:
        claim: its keys, as the table's file has them.
        rows: the names of the table's rows.
        columns: the names of its columns, and of its average if it has one.

    Raises:
        ConfigError: the message names the key, its value, and what is allowed.
    """
    kind = str(claim.get("kind"))
    if kind not in KEYS:
        raise ConfigError(unknown("kind", kind, KEYS))
    needed, optional = KEYS[kind]
    allowed = ("kind", "text", *needed, *optional)
    for key in claim:
        if key not in allowed:
            raise ConfigError(unknown_key(str(key), allowed))
    for key in ("text", *needed):
        if key not in claim:
            raise ConfigError(f"a claim of kind {kind} needs the key {key}")
    if set(_COLUMNS) <= claim.keys():
        raise ConfigError("column and columns are both given; leave one out")
    for key, value in claim.items():
        if (kind, key, value) != ("beats", "points", PAPER):
            _check_form(key, value)
    if claim.get("points") == 0 and kind == "comparable":
        raise ConfigError("points=0: the margin of a claim that is comparable is above 0")
    if kind == "rises" and len(claim["rows"]) < 2:
        raise ConfigError(f"rows={claim['rows']}: a claim that rises needs two rows")
    check_known("row", claimed_rows(claim), rows)
    _check_different(claim)
    named = [claim[key] for key in _COLUMNS if key in claim]
    if not named and {*_COLUMNS} <= {*optional} and AVERAGE not in columns:
        raise ConfigError(
            f"{claim['text']}: the table has no average; say in which column the claim is "
            f"made (allowed: {', '.join(columns)})"
        )
    check_known("column", list(_flatten(named)), columns)


def claimed_rows(claim: Mapping[str, Any]) -> list[str]:
    """Return the names of the rows that a claim is about."""
    named = [claim[key] for key in ("row", "over", "of", "than", "rows", "pairs") if key in claim]
    return list(_flatten(named))


def _check_form(key: str, value: Any) -> None:
    if key in (*_ONE, "text") and not isinstance(value, str):
        raise ConfigError(f"{key}={value}: must be one {'text' if key == 'text' else 'name'}")
    if key in _LISTS and (not isinstance(value, list) or not value):
        raise ConfigError(f"{key}={value}: must be a list of at least one")
    if key == "pairs" and any(not _is_names(pair) or len(pair) != 2 for pair in value):
        raise ConfigError(f"pairs={value}: must be a list of pairs [row, row]")
    if key in ("rows", "columns") and not _is_names(value):
        raise ConfigError(f"{key}={value}: must be a list of names")
    if key in _LISTS:
        check_once(key, value)
    if key not in _RANGES:
        return
    low, high = _RANGES[key]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        limits = "at least 0" if high == math.inf else f"from {low:g} to {high:g}"
        raise ConfigError(f"{key}={value}: must be a finite number, {limits}")


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _check_different(claim: Mapping[str, Any]) -> None:
    """Refuse a claim that compares a row with itself, which no result could decide."""
    one, other = claim.get("row"), next((claim[k] for k in ("over", "of", "than") if k in claim), 0)
    pairs = [(one, other), *claim.get("pairs", ())]
    if "rows" in claim and claim["kind"] == "rises":
        pairs += zip(claim["rows"], claim["rows"][1:], strict=False)
    elif "rows" in claim:
        pairs += [(row, one or other) for row in claim["rows"]]
    for first, second in pairs:
        if first == second:
            raise ConfigError(f"{claim['kind']}: compares the row {first} with itself")


def _flatten(values: Any) -> Iterator[str]:
    if not isinstance(values, list):
        yield str(values)
        return
    for value in values:
        yield from _flatten(value)
