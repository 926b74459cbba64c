"""Whether the parts of a table's file fit each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from sparsead.config.quoting import overridden_key
from sparsead.config.schema import check_recordable
from sparsead.config.seeds import check_seed_count
from sparsead.errors import ConfigError, unknown_key
from sparsead.tables.cells import AVERAGE, TableSpec
from sparsead.tables.claims import KEYS, check_claim, claimed_rows
from sparsead.tables.columns import (
    PAPER,
    check_known,
    check_once,
    claimed_columns,
    find_claim_without_paper,
)

FIGURES = ("score_by_parameters", "score_by_sparsity", "score_by_training", "score_by_weights")
"""The kinds of figure that a table's `options` may ask for; `report/plots.py` draws them."""

_KIND = "kind"
"""The only key that `options` may have."""

_HEADS = ("backbone", "method", "#param")
"""Headings of the columns that every printed table has."""

OF_CELLS = {
    "seed": "a table uses the seeds 1 to N; say how many with seeds=N",
    "task": "a table's columns name their tasks; choose some of them with only=column=PATTERN",
    "experiment": "a table's rows name their experiments; choose some with only=row=PATTERN",
}
"""Keys that a table's cells decide, and what is said of an override."""

_HYDRA = ("hydra.", "hydra/")
"""How the keys begin that say where and how a command's runs are started."""

Item = TypeVar("Item")


def name_place(where: str, read: Callable[[Any], Item], values: Any) -> Item:
    """Return what `read` makes of a part of a table; its error messages begin with `where`."""
    try:
        return read(values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def check_table(table: TableSpec) -> None:
    """Refuse a table whose parts do not fit each other.

    No table has so many seeds, two rows or columns have one name or heading, a key refers to an
    unknown name, an override is of what the cells or the command decide, or a claim is malformed.

    Raises:
        ConfigError: the message names the key.
    """
    check_seed_count(table.seeds)
    rows, columns = ([item.name for item in items] for items in (table.rows, table.columns))
    for kind, names in (("rows", rows), ("columns", columns)):
        if twice := [name for name in names if names.count(name) > 1]:
            raise ConfigError(f"two {kind} are named {twice[0]}; give each a name of its own")
    heads = [*_HEADS, *(column.label for column in table.columns)]
    heads += [table.average_label] if table.average else []
    if twice := [head for head in heads if heads.count(head) > 1]:
        raise ConfigError(f"two columns have the heading {twice[0]}; give each a label of its own")
    for kind, items in (("rows", rows), ("columns", columns), ("backbones", table.backbones)):
        if not items:
            raise ConfigError(f"{kind}: the table has none")
    for index, row in enumerate(table.rows):
        check_known("not_run", list(row.not_run), columns)
        check_known("sources", [row.sources], rows[:index])
    _check_comparisons(table, rows)
    for key, names in (("average", table.average), ("tested", table.tested)):
        check_known(key, names, columns)
        check_once(key, names)
    _check_options(table)
    _check_overrides(table)
    scored = [*columns, AVERAGE] if table.average else columns
    for number, claim in enumerate(table.claims, 1):
        name_place(f"claim {number}", partial(check_claim, rows=rows, columns=scored), claim)
        name_place(f"claim {number}", partial(_check_runs, table), claim)
        if column := find_claim_without_paper(table, claim):
            raise ConfigError(
                f"claim {number}: points={PAPER}: the table has no score of the paper for both "
                f"rows in the column {column}; give their keys published, or a number of points"
            )


def _check_comparisons(table: TableSpec, rows: Sequence[str]) -> None:
    """Refuse rows to compare that are unknown, named twice, or have no row to be compared with."""
    check_known("baseline", [table.baseline], rows)
    check_known("comparisons", table.comparisons, rows)
    check_once("comparisons", table.comparisons)
    if table.comparisons and table.baseline is None:
        raise ConfigError(
            f"comparisons: {', '.join(table.comparisons)}: the table names no row that these are "
            "compared with; add its name as baseline"
        )
    if table.baseline in table.comparisons:
        raise ConfigError(f"comparisons: {table.baseline} is the baseline; leave it out of them")


def _check_options(table: TableSpec) -> None:
    """Refuse an option that no figure has: a misspelt one would give another figure, or none."""
    for key in table.options:
        if key != _KIND:
            raise ConfigError(f"options: {unknown_key(str(key), [_KIND])}")
    check_known(f"options: {_KIND}", [table.options.get(_KIND)], FIGURES)


def _check_runs(table: TableSpec, claim: Mapping[str, Any]) -> None:
    """Refuse a claim about a row in a column in which it has no runs: it could never be decided."""
    has_columns = "column" in KEYS[claim["kind"]][1]
    named = claimed_columns(claim) if has_columns else [each.name for each in table.columns]
    columns = [*named, *(table.average if AVERAGE in named else ())]
    for row in table.rows:
        lacking = [name for name in columns if name in row.not_run]
        if row.name in claimed_rows(claim) and lacking:
            raise ConfigError(
                f"{claim['text']}: the row {row.name} has no runs in {lacking[0]}, as its key "
                "not_run says; leave the row out of the claim, or name other columns"
            )


def _check_overrides(table: TableSpec) -> None:
    """Refuse overrides of what the table's cells decide: their scores would stand elsewhere.

    Only a column may have a backbone of its own. Where the runs are recorded and how they are
    started is the same for all cells, and only the command says it.
    """
    of_rows = [(f"row {row.name}", row.overrides) for row in table.rows]
    of_columns = [(f"column {column.name}", column.overrides) for column in table.columns]
    for where, overrides in (("overrides", table.overrides), *of_rows, *of_columns):
        for key in map(overridden_key, overrides):
            if key in OF_CELLS:
                raise ConfigError(f"{where}: {key}: {OF_CELLS[key]}")
            if key == "outputs" or key.startswith(_HYDRA):
                raise ConfigError(
                    f"{where}: {key}: is no key of a table's file; type {key}=… in the command"
                )
            if key == "backbone" and not where.startswith("column "):
                raise ConfigError(f"{where}: backbone: the table's key backbones names them")


def check_published(table: TableSpec) -> None:
    """Refuse printed numbers of columns that the table does not have, or that are not finite."""
    columns = [*(column.name for column in table.columns), AVERAGE]
    for row in table.rows:
        for printed in row.published:
            for key, numbers in (("scores", printed.scores), ("params", printed.params)):
                check_known(f"row {row.name}: published: {key}", [*numbers], columns)
                check_recordable(f"row {row.name}: published.{key}", numbers)
