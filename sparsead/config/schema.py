"""A part of a composed configuration, read as a dataclass whose fields are its keys and types."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sparsead.errors import ConfigError, unknown, unknown_key, wrong_type

Spec = TypeVar("Spec")


def read_group(config: DictConfig, group: str, schema: type[Spec]) -> Spec:
    """Return a group of a composed configuration as its dataclass.

    Keys that the dataclass lacks go into its `options`, where it has these; `_target_` is the
    `method`.

    Raises:
        ConfigError: a key is unknown or missing, or a value of the wrong type or out of range.
    """
    values = OmegaConf.to_container(config[group], resolve=True)
    if not isinstance(values, dict):
        raise ConfigError(f"{group}={values}: is no configuration group")
    target = values.pop("_target_", None)
    if target is not None:
        values["method"] = target
    names = {f.name for f in fields(schema)}  # type: ignore[arg-type]
    options = {str(key): value for key, value in values.items() if key not in names}
    known: dict[str, Any] = {str(key): values[key] for key in values if key in names}
    if "options" in names:
        return typed(group, schema, known | {"options": options})
    if options:
        raise ConfigError(unknown_key(f"{group}.{next(iter(options))}", names))
    return typed(group, schema, known)


def check_keys(group: str, values: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Refuse a key of `values` that is none of those allowed.

    Raises:
        ConfigError: there is one; the first is named, with the nearest that is allowed.
    """
    for key in values:
        if key not in allowed:
            raise ConfigError(unknown_key(f"{group}.{key}", allowed))


def check_choice(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is none of those allowed, with the nearest that is."""
    if value not in allowed:
        raise ConfigError(unknown(key, value, allowed))


def check_minimum(key: str, value: float, low: float) -> None:
    """Refuse a number below `low`."""
    if value < low:
        raise ConfigError(f"{key}={value:g}: must be at least {low:g}")


def check_folder(key: str, path: str | None) -> None:
    """Refuse the path of no folder."""
    if path is not None and not Path(path).is_dir():
        raise ConfigError(f"{key}={path}: is not a folder")


def is_interpolated(key: str, config: DictConfig) -> bool:
    """Tell whether `${key…}` or `${oc.select:key…}` stands anywhere."""
    return re.search(rf"[{{:]{re.escape(key)}\b", OmegaConf.to_yaml(config)) is not None


def typed(group: str, schema: type[Spec], values: Mapping[str, Any]) -> Spec:
    """Return `values` as a dataclass, converted to the types of its fields.

    Raises:
        ConfigError: a value is missing, of the wrong type or out of range.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), dict(values))
        result = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        name = re.split(r"[.[]", error.full_key or "")[0]
        key = f"{group}.{name}" if group else name
        raise ConfigError(_mistyped(key, name, schema, values)) from error
    assert isinstance(result, schema)
    return result


def _mistyped(key: str, name: str, schema: type[Any], values: Mapping[str, Any]) -> str:
    if name not in values:
        return f"{key}: is missing"
    annotation = next(str(f.type) for f in fields(schema) if f.name == name)
    return wrong_type(key, values[name], annotation)
