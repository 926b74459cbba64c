"""Change the columns of a table, and adapt what its other keys say about columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from statistics import mean
from typing import Any

from sparsead.errors import ConfigError, unknown
from sparsead.tables.cells import AVERAGE, Column, Published, Row, TableSpec

PAPER = "paper"
"""The margin of a claim that is the difference that the paper prints for the same two rows."""

_ALONE = " alone, also in the paper's numbers."


def with_columns(
    table: TableSpec, columns: Sequence[Column], average: Sequence[str] | None = None
) -> TableSpec:
    """Return the table with these columns instead of its own.

    Claims about other columns, or about an average that is gone, are left out, and so are claims
    with `points: paper` where the paper prints no scores. The paper's averages are of the table's
    own columns; they are computed anew, to two decimals, where the paper prints a score for each
    averaged column, and left out elsewhere.

    Args:
        table: a table.
        columns: some of its columns, or others.
        average: the names of the columns to average; None: those that the table averages.
    """
    names = [column.name for column in columns]
    averaged = names_among(table.average, names) if average is None else list(average)
    known = {*names, AVERAGE} if averaged else {*names}
    narrowed = replace(
        table,
        rows=[_narrowed(row, names) for row in table.rows],
        columns=list(columns),
        average=averaged,
        tested=names_among(table.tested, names),
        claims=[claim for claim in table.claims if known.issuperset(claimed_columns(claim))],
    )
    if averaged != table.average:
        narrowed = _with_average_of(narrowed, averaged)
    kept = [claim for claim in narrowed.claims if find_claim_without_paper(narrowed, claim) is None]
    return replace(narrowed, claims=kept)


def list_columns(table: TableSpec) -> tuple[str, ...]:
    """Return the names of the columns, the average last."""
    return (*(column.name for column in table.columns), *((AVERAGE,) if table.average else ()))


def tested_columns(table: TableSpec) -> tuple[str, ...]:
    """Return the names of the columns in which rows are tested against others.

    They are the average, the columns that it does not include, and those that `tested` names.
    """
    names = list_columns(table)
    return tuple(name for name in names if name in table.tested or name not in table.average)


def published_difference(
    table: TableSpec, backbone: str, row: str, of: str, column: str
) -> float | None:
    """Return the paper's score of one row minus that of another; None if it does not print both."""
    rows = {each.name: each.published_for(backbone) for each in table.rows}
    found: list[Decimal] = []
    for name in (row, of):
        printed = rows.get(name)
        score = None if printed is None else printed.scores.get(column)
        if score is None:
            return None
        found.append(Decimal(str(score)))
    return float(found[0] - found[1])


def find_claim_without_paper(table: TableSpec, claim: Mapping[str, Any]) -> str | None:
    """Return the column in which a claim's margin is the paper's difference, which it lacks."""
    if claim.get("points") != PAPER:
        return None
    for backbone in table.backbones:
        for column in claimed_columns(claim):
            pair = claim["row"], claim["over"]
            if published_difference(table, backbone, *pair, column) is None:
                return column
    return None


def claimed_columns(claim: Mapping[str, Any]) -> list[str]:
    """Return the names of the columns that a claim is about: by default the average."""
    return list(claim.get("columns", [claim.get("column", AVERAGE)]))


def names_among(names: Sequence[str], allowed: Sequence[str]) -> list[str]:
    """Return those of the names that are allowed, in their order."""
    return [name for name in names if name in allowed]


def check_known(key: str, given: Sequence[str | None], allowed: Sequence[str]) -> None:
    """Refuse names that are not allowed; None names nothing.

    Raises:
        ConfigError: the message begins with `key`, and suggests the nearest name.
    """
    for name in given:
        if name is not None and name not in allowed:
            raise ConfigError(unknown(key, name, allowed))


def check_once(key: str, given: Sequence[Any]) -> None:
    """Refuse a name, or a pair of names, that is given twice: it would be tested twice.

    Raises:
        ConfigError: the message begins with `key`.
    """
    if twice := [each for each in given if given.count(each) > 1]:
        name = ", ".join(twice[0]) if isinstance(twice[0], list) else twice[0]
        raise ConfigError(f"{key}: {name} is named twice; name it once")


def _narrowed(row: Row, columns: Sequence[str]) -> Row:
    reasons = {name: reason for name, reason in row.not_run.items() if name in columns}
    return replace(row, not_run=reasons)


def _with_average_of(table: TableSpec, averaged: Sequence[str]) -> TableSpec:
    if not averaged:
        return table
    labels = [column.label for column in table.columns if column.name in averaged]
    note = f"{table.average_label}: of {', '.join(labels)}{_ALONE}"
    notes = [each for each in table.notes if not each.endswith(_ALONE)]  # of a former change
    rows = [_with_published_average(row, averaged) for row in table.rows]
    return replace(table, rows=rows, notes=[*notes, note] if _has_published(table) else notes)


def _has_published(table: TableSpec) -> bool:
    return any(AVERAGE in printed.scores for row in table.rows for printed in row.published)


def _with_published_average(row: Row, averaged: Sequence[str]) -> Row:
    return replace(row, published=[_averaged(printed, averaged) for printed in row.published])


def _averaged(printed: Published, columns: Sequence[str]) -> Published:
    scores = {name: score for name, score in printed.scores.items() if name != AVERAGE}
    if scores.keys() >= set(columns):
        printed_scores = [Decimal(str(scores[name])) for name in columns]
        scores[AVERAGE] = float(round(mean(printed_scores), 2))
    return replace(printed, scores=scores)
