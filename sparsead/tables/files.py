"""A table of the paper, or a user's own, read from one YAML file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sparsead.config.choices import config_folders, find_choice, list_choices, list_groups
from sparsead.config.launch import take_launcher
from sparsead.config.quoting import overridden_key, unquote_values
from sparsead.config.safe_yaml import load_yaml, read_mapping
from sparsead.config.schema import Spec, to_dataclass
from sparsead.config.search import GRID, SearchSpec, take_search
from sparsead.config.seeds import read_seeds
from sparsead.errors import ConfigError, unknown, unknown_key
from sparsead.runs.files import check_readable
from sparsead.tables.cells import AVERAGE, Column, Published, Row, TableSpec
from sparsead.tables.checks import OF_CELLS, check_published, check_table, name_place
from sparsead.tables.claims import claimed_rows
from sparsead.tables.columns import check_known, names_among, tested_columns, with_columns

_HELD_OUT = "protocol.selection=0.1"
"""A search chooses on this part of the training set, unless the user types another share."""

Named = TypeVar("Named", Row, Column)
Item = TypeVar("Item")


def load_table(name_or_path: str, overrides: Sequence[str] = ()) -> TableSpec:
    """Read conf/table/NAME.yaml, or any YAML file of that form.

    Args:
        name_or_path: the name of one of the project's tables, or a path that ends in .yaml.
        overrides: `backbone=`, `seeds=`, `protocol=`, `tested=`, `only=` and `search=` with its
            keys change the table itself; those of a launcher say how its runs are trained, and
            are left out; everything else is an override of `sparsead train` for every cell.

    Raises:
        ConfigError: there is no such table, or it or an override is malformed.
    """
    name, values = _read(name_or_path)
    table = name_place(name, partial(_parse, name), values)
    _, overrides = take_launcher(overrides)
    _check_keys(overrides)
    search, overrides = take_search(overrides)
    if search is not None:
        table = replace(table, search=search, overrides=[*table.overrides, _HELD_OUT])
    whole = _with_overrides(table, [each for each in overrides if not each.startswith("only=")])
    table = _with_overrides(table, overrides)
    _check_rows_decide(table, overrides)
    if search is not None:
        _check_points_are_free(table, search)
    return replace(table, notes=[*table.notes, *_note_of_family(whole, table)])


def _with_overrides(table: TableSpec, overrides: Iterable[str]) -> TableSpec:
    for override in overrides:
        key, _, value = override.partition("=")
        if key in _OWN:
            table = _OWN[key](table, unquote_values(value))
        else:
            table = replace(table, overrides=[*table.overrides, override])
    return table


def _check_keys(overrides: Sequence[str]) -> None:
    """Refuse what a table's cells decide, and unknown keys that resemble the table's own keys."""
    root = config_folders()[0]
    runs = read_mapping(root / "train.yaml")
    allowed = {*list_groups(), *runs, *_OWN} - OF_CELLS.keys()
    for key in map(overridden_key, overrides):
        if key in OF_CELLS:
            raise ConfigError(f"{key}: {OF_CELLS[key]}")
        if "." in key or key in allowed:
            continue  # Hydra checks the keys inside a group
        if _OWN.keys() & get_close_matches(key, allowed, n=1):
            raise ConfigError(unknown_key(key, allowed))


def _check_rows_decide(table: TableSpec, overrides: Sequence[str]) -> None:
    """Refuse an override of what a row itself says: its label would not be true of its runs."""
    for key in map(_decided_key, overrides):
        row = next((each for each in table.rows if key in _decided_keys(each)), None)
        if row is not None:
            raise ConfigError(
                f"{key}: the row {row.name} of {table.name} decides it, and its label says so; "
                f"leave it out, or write a table of your own with base: {table.name}"
            )


def _check_points_are_free(table: TableSpec, search: SearchSpec) -> None:
    """Refuse a search of what a row or a column itself says: its runs would have other values."""
    grid = {f"protocol.{key}" for key in GRID}
    named: list[tuple[str, Row | Column]] = [("row", row) for row in table.rows]
    for kind, each in [*named, *(("column", column) for column in table.columns)]:
        decided = next((o for o in each.overrides if overridden_key(o) in grid), None)
        if decided is not None:
            raise ConfigError(
                f"search={search.name}: the {kind} {each.name} of {table.name} says {decided}, "
                f"which a search would replace; leave the {kind} out with only={kind}=PATTERN, or "
                "take that word out of a table of your own"
            )


def _decided_keys(row: Row) -> set[str]:
    """Return the keys of a row's overrides, and what every experiment decides.

    What else an experiment says, such as the bottleneck, may be changed for a whole table.
    """
    keys = {_decided_key(override) for override in row.overrides}
    return keys if row.experiment is None else keys | {"pruner", "sparsity"}


def _decided_key(override: str) -> str:
    key = overridden_key(override)
    return "sparsity" if key == "sparsity.ratio" else key


def is_table(name_or_path: str) -> bool:
    """Tell whether `load_table` takes this for the name of a table or the path of one."""
    return _is_path(name_or_path) or name_or_path in list_choices("table")


def unknown_table(name: str, verb: str = "table", others: Iterable[str] = ()) -> str:
    """Return the message that there is no table `name`, nor one of the others that a verb takes."""
    return unknown(verb, name, [*others, *list_choices("table")]) + ", or a path ending in .yaml"


def _is_path(name_or_path: str) -> bool:
    return Path(name_or_path).suffix in (".yaml", ".yml")


def _read(name_or_path: str) -> tuple[str, Any]:
    if not is_table(name_or_path):
        raise ConfigError(unknown_table(name_or_path))
    named = not _is_path(name_or_path)
    path = find_choice("table", name_or_path) if named else Path(name_or_path)
    try:
        check_readable(path)
        return path.stem, load_yaml(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: is no table ({reason})") from error


def _parse(name: str, values: Any) -> TableSpec:
    keys = {"name": name} | _mapping(values)
    table = _change_base(keys) if "base" in keys else _build(keys)
    check_table(table)
    if "base" not in keys:
        check_published(table)
    return table


def _build(values: Mapping[str, Any]) -> TableSpec:
    if "search" in values:
        raise ConfigError("search: is no key of a table's file; type search=NAME in the command")
    keys: dict[str, Any] = {"title": values["name"], **values}
    rows = _each("row", keys, _row)
    columns = _columns(keys)
    keys["average"] = _averaged(keys.get("average"), columns)
    table = _typed(TableSpec, keys | {"rows": [], "columns": []})
    return replace(table, rows=rows, columns=columns)


def _change_base(keys: Mapping[str, Any]) -> TableSpec:
    """Return the table that `base` names, with the changes of this table.

    `rows` are changes by the row's name: overrides are added to those of the row, and other keys
    replace the row's own. `columns` replace those of the base.
    """
    name = str(keys["base"])
    _, values = _read(name)
    base = name_place(f"base={name}", _mapping, values)
    if "base" in base:
        raise ConfigError(f"base={name}: is itself based on {base['base']}")
    own = {key: value for key, value in keys.items() if key not in ("base", "rows", "columns")}
    changes = name_place("rows", _mapping, keys.get("rows", {}))
    rows = {_row(row).name: row for row in _each("row", base, _mapping)}
    check_known("rows", list(changes), list(rows))
    changed = [
        name_place(f"row {r}", partial(_changed, row), changes.get(r, {}))
        for r, row in rows.items()
    ]
    if "comparisons" not in own and "comparisons" in base:
        others = [row for row in base["comparisons"] if row != own.get("baseline")]
        own["comparisons"] = others
    table = _build(base | own | {"rows": changed})
    if not {"columns", "average"} & keys.keys():
        return table
    columns = _columns(keys) if "columns" in keys else table.columns
    average = _averaged((base | own).get("average"), columns)
    theirs = {key: getattr(table, key) for key in ("tested", "claims") if key in own}
    return replace(with_columns(table, columns, average), **theirs)


def _columns(keys: Mapping[str, Any]) -> list[Column]:
    return _each("column", keys, partial(_typed, Column))


def _averaged(average: Any, columns: Sequence[Column]) -> Any:
    """Return the names of the columns to average; a file may say true or false instead."""
    if average is None or isinstance(average, bool):
        return [column.name for column in columns] if average else []
    return average


def _changed(row: Mapping[str, Any], values: Any) -> dict[str, Any]:
    changes = _mapping(values)
    theirs, ours = (_each_text(keys.get("overrides", [])) for keys in (row, changes))
    if not isinstance(ours, list):
        raise ConfigError(f"overrides={ours!r}: must be a list")
    return {**row, **changes, "overrides": [*theirs, *ours]}


def _each(kind: str, keys: Mapping[str, Any], read: Callable[[Any], Item]) -> list[Item]:
    listed = keys.get(f"{kind}s")
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"{kind}s must be a list of at least one")
    return [name_place(f"{kind} {number}", read, values) for number, values in enumerate(listed, 1)]


def _row(values: Any) -> Row:
    keys = _mapping(values)
    printed = name_place("published", _mapping, keys.get("published", {}))
    published = [
        name_place(f"published.{b}", partial(_published, b), v) for b, v in printed.items()
    ]
    return replace(_typed(Row, keys | {"published": []}), published=published)


def _published(backbone: str, values: Any) -> Published:
    keys = _mapping(values)
    params = keys.get("params", {})
    by_column = params if isinstance(params, dict) else {AVERAGE: params}
    chosen = None if backbone == "any" else backbone
    return _typed(Published, keys | {"backbone": chosen, "params": by_column})


def _typed(schema: type[Spec], values: Any) -> Spec:
    keys = _mapping(values)
    for each in fields(schema):  # type: ignore[arg-type]
        if each.type == "list[str]" and each.name in keys:
            keys[each.name] = _texts(keys[each.name])
    return to_dataclass("", schema, keys)


def _texts(value: Any) -> Any:
    """Make a single text a list of one, and leave `${…}` in it for the run that it overrides."""
    texts = _each_text(value)
    if not isinstance(texts, list):
        return value
    return [text.replace("${", r"\${") if isinstance(text, str) else text for text in texts]


def _each_text(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _mapping(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ConfigError(f"{values!r} is no mapping")
    return {str(key): value for key, value in values.items()}


def _with_seeds(table: TableSpec, value: str) -> TableSpec:
    return replace(table, seeds=read_seeds(value))


def _with_backbones(table: TableSpec, value: str) -> TableSpec:
    """Use these backbones in every column, also in columns with a backbone of their own."""
    columns = [
        replace(c, overrides=[o for o in c.overrides if not o.startswith("backbone=")])
        for c in table.columns
    ]
    return replace(table, backbones=value.split(","), columns=columns)


def _with_tested(table: TableSpec, value: str) -> TableSpec:
    columns = [column.name for column in table.columns]
    tested = columns if value == "all" else value.split(",")
    check_known("tested", tested, [*columns, "all"])
    return replace(table, tested=tested)


def _only(table: TableSpec, value: str) -> TableSpec:
    axis, _, patterns = value.partition("=")
    if axis == "row":
        rows = _with_sources(table.rows, _matching(axis, table.rows, patterns))
        names = [row.name for row in rows]
        compared = names_among(table.comparisons, names)
        claims = [claim for claim in table.claims if set(names).issuperset(claimed_rows(claim))]
        return replace(table, rows=rows, comparisons=compared, claims=claims)
    if axis == "column":
        return with_columns(table, _matching(axis, table.columns, patterns))
    raise ConfigError(unknown("only", axis, ("row", "column")))


def _note_of_family(whole: TableSpec, shown: TableSpec) -> list[str]:
    """Say that the corrected p-values count fewer tests than those of the whole table do."""
    axes = ("row", whole.rows, shown.rows), ("column", whole.columns, shown.columns)
    narrowed = [f"only={axis}" for axis, every, kept in axes if len(kept) < len(every)]
    counts = (
        (_count_comparisons(shown), _count_comparisons(whole), "comparisons"),
        (len(shown.claims), len(whole.claims), "claims"),
    )
    fewer = [(number, f"{total} {what}") for number, total, what in counts if 0 < number < total]
    whose = ("the table's", "its")
    kept = [f"{n} of {its} {every}" for its, (n, every) in zip(whose, fewer, strict=False)]
    shown_by = f"Shown by {' and '.join(narrowed)}"
    said = f"{shown_by}: {' and '.join(kept)}; the corrections count no others."
    return [said] if kept and narrowed else []


def _count_comparisons(table: TableSpec) -> int:
    """Return how many comparisons with other rows the table makes in each of its backbones."""
    return len(table.comparisons) * len(tested_columns(table))


def _with_sources(rows: list[Row], kept: list[Row]) -> list[Row]:
    """Return the kept rows, and the rows whose runs they start from."""
    sources = [row.sources for row in kept]
    return [row for row in rows if row in kept or row.name in sources]


def _matching(axis: str, items: list[Named], patterns: str) -> list[Named]:
    """Return the items that a pattern names; a pattern that names none is refused."""
    wanted = patterns.split(",")
    names = [item.name for item in items]
    for pattern in wanted:
        if not any(fnmatch(name, pattern) for name in names):
            raise ConfigError(unknown(f"only={axis}", pattern, names))
    return [item for item in items if any(fnmatch(item.name, p) for p in wanted)]


_OWN: dict[str, Callable[[TableSpec, str], TableSpec]] = {
    "backbone": _with_backbones,
    "seeds": _with_seeds,
    "protocol": lambda table, value: replace(table, protocol=value),
    "tested": _with_tested,
    "only": _only,
}
