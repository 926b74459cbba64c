"""A table of the paper, or a user's own, read from one YAML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sparsead.config.choices import choices, groups
from sparsead.errors import ConfigError, unknown, unknown_key
from sparsead.tables.cells import AVERAGE, Column, Published, Row, TableSpec

Named = TypeVar("Named", Row, Column)


def load_table(name_or_path: str, overrides: Sequence[str] = ()) -> TableSpec:
    """Read conf/table/NAME.yaml, or any YAML file of that form.

    Args:
        name_or_path: the name of one of the project's tables, or a path that ends in .yaml.
        overrides: `backbone=`, `seeds=`, `protocol=` and `only=` change the table itself;
            everything else is an override of `sparsead train` for every cell.

    Raises:
        ConfigError: there is no such table, or it or an override is malformed.
    """
    table = _parse(*_read(name_or_path))
    _check_keys(overrides)
    own = [_split(override) for override in overrides if override.partition("=")[0] in _OWN]
    trained = tuple(o for o in overrides if o.partition("=")[0] not in _OWN)
    table = replace(table, overrides=(*table.overrides, *trained))
    for key, value in own:
        table = _OWN[key](table, value)
    return table


def _check_keys(overrides: Sequence[str]) -> None:
    """Refuse `seed=`, and what is spelt like a key of the table's own more than like a run's."""
    root = Path(str(files("sparsead.conf")))
    runs = yaml.safe_load((root / "train.yaml").read_text("utf-8"))
    allowed = {*groups(), *runs, *_OWN} - {"seed"}
    for key in (override.partition("=")[0] for override in overrides):
        if key == "seed":
            raise ConfigError("seed: a table takes the seeds 1 to N; say how many with seeds=N")
        if "." in key or key in allowed:
            continue  # Hydra checks what is in a group
        if _OWN.keys() & get_close_matches(key, allowed, n=1):
            raise ConfigError(unknown_key(key, allowed))


def _read(name_or_path: str) -> tuple[str, Any]:
    path = Path(name_or_path)
    folder = Path(str(files("sparsead.conf"))) / "table"
    if path.suffix not in (".yaml", ".yml"):
        names = choices("table")
        if name_or_path not in names:
            raise ConfigError(unknown("table", name_or_path, names) + ", or a path ending in .yaml")
        path = folder / f"{name_or_path}.yaml"
    try:
        return path.stem, yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: is no table ({reason})") from error


def _parse(name: str, values: Any) -> TableSpec:
    values = dict(_mapping(name, values, TableSpec))
    columns = tuple(_column(name, column) for column in _list(name, "columns", values))
    rows = _rows(name, _list(name, "rows", values))
    average = values.pop("average", False)
    names = tuple(column.name for column in columns)
    averaged = names if average is True else tuple(average or ())
    comparisons, claims = (tuple(values.pop(key, ())) for key in ("comparisons", "claims"))
    table = TableSpec(
        name=values.pop("name", name),
        title=values.pop("title", name),
        rows=rows,
        columns=columns,
        backbones=_words(values.pop("backbones", "minilm")),
        average=averaged,
        comparisons=comparisons,
        claims=claims,
        overrides=_words(values.pop("overrides", ())),
        **values,
    )
    baseline = () if table.baseline is None else (table.baseline,)
    _check_known(name, "row", (*baseline, *comparisons), [row.name for row in rows])
    _check_known(name, "average", averaged, names)
    _check_seeds(table.seeds)
    return table


def _rows(table: str, listed: Sequence[Any]) -> tuple[Row, ...]:
    """Read the rows in their order: a row's sources are a row above it."""
    rows: dict[str, Row] = {}
    for values in listed:
        row = _row(table, values, rows)
        rows[row.name] = row
    return tuple(rows.values())


def _row(table: str, values: Any, above: Mapping[str, Row]) -> Row:
    values = dict(_mapping(f"{table}: row", values, Row, "experiment"))
    experiment = values.pop("experiment", None)
    overrides = _words(values.pop("overrides", ()))
    if experiment is not None:
        overrides = (f"experiment={experiment}", *overrides)
    published = values.pop("published", {})
    sources = values.pop("sources", None)
    _check_known(table, "sources", () if sources is None else (sources,), list(above))
    name = values.pop("name", str(experiment or values.get("label", "")).rpartition("/")[2])
    if not name:
        raise ConfigError(f"{table}: a row has neither name, nor experiment, nor label")
    entries = tuple(_published(table, b, entry) for b, entry in published.items())
    label = values.pop("label", name)
    values["sources"] = above.get(sources)
    return Row(name=name, label=label, overrides=overrides, published=entries, **values)


def _published(table: str, backbone: str, values: Any) -> Published:
    values = _mapping(f"{table}: published", values, Published)
    params = values.get("params", {})
    shared = params if isinstance(params, Mapping) else {AVERAGE: params}
    chosen = None if backbone == "any" else backbone
    return Published(chosen, dict(shared), dict(values.get("scores", {})))


def _column(table: str, values: Any) -> Column:
    values = dict(_mapping(f"{table}: column", values, Column))
    for key in ("task", "metric"):
        if key not in values:
            raise ConfigError(f"{table}: a column has no {key}")
    defaults = {"name": values["task"], "label": values["task"]}
    return Column(**defaults | values | {"overrides": _words(values.get("overrides", ()))})


def _mapping(where: str, values: Any, schema: type[Any], *more: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {values!r} is no mapping")
    allowed = (*(each.name for each in fields(schema)), *more)
    for key in values:
        if key not in allowed:
            raise ConfigError(f"{where}: {unknown_key(str(key), allowed)}")
    return values


def _list(table: str, key: str, values: dict[str, Any]) -> list[Any]:
    items = values.pop(key, None)
    if not isinstance(items, list) or not items:
        raise ConfigError(f"{table}: {key} must be a list of at least one")
    return items


def _words(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(str(item) for item in value)


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key, value


def _with_seeds(table: TableSpec, value: str) -> TableSpec:
    seeds = int(value) if value.isdecimal() else 0
    _check_seeds(seeds, value)
    return replace(table, seeds=seeds)


def _check_seeds(seeds: Any, given: object = None) -> None:
    if type(seeds) is not int or seeds < 1:
        raise ConfigError(f"seeds={given or seeds}: must be a whole number, at least 1")


def _with_backbones(table: TableSpec, value: str) -> TableSpec:
    """Every column takes the user's backbone, those too that the table gives one of their own."""
    columns = tuple(
        replace(c, overrides=tuple(o for o in c.overrides if not o.startswith("backbone=")))
        for c in table.columns
    )
    return replace(table, backbones=tuple(value.split(",")), columns=columns)


def _only(table: TableSpec, value: str) -> TableSpec:
    axis, _, patterns = value.partition("=")
    if axis == "row":
        rows = _with_sources(table.rows, _matching(axis, table.rows, patterns))
        compared = _among(table.comparisons, rows)
        return replace(table, rows=rows, comparisons=compared)
    if axis == "column":
        columns = _matching(axis, table.columns, patterns)
        return replace(table, columns=columns, average=_among(table.average, columns))
    raise ConfigError(unknown("only", axis, ("row", "column")))


def _with_sources(rows: tuple[Row, ...], kept: tuple[Row, ...]) -> tuple[Row, ...]:
    """Keep beside a row the row whose runs it starts from."""
    sources = [row.sources.name for row in kept if row.sources is not None]
    return tuple(row for row in rows if row in kept or row.name in sources)


def _matching(axis: str, items: tuple[Named, ...], patterns: str) -> tuple[Named, ...]:
    kept = tuple(i for i in items if any(fnmatch(i.name, p) for p in patterns.split(",")))
    if not kept:
        raise ConfigError(unknown(f"only={axis}", patterns, [item.name for item in items]))
    return kept


def _among(names: Sequence[str], items: Sequence[Row | Column]) -> tuple[str, ...]:
    return tuple(name for name in names if any(name == item.name for item in items))


_OWN: dict[str, Callable[[TableSpec, str], TableSpec]] = {
    "backbone": _with_backbones,
    "seeds": _with_seeds,
    "protocol": lambda table, value: replace(table, protocol=value),
    "only": _only,
}


def _check_known(table: str, key: str, given: Sequence[str], allowed: Sequence[str]) -> None:
    for name in given:
        if name not in allowed:
            raise ConfigError(f"{table}: {unknown(key, name, allowed)}")
