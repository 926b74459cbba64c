"""Read a group of a composed configuration into a dataclass that declares its keys and types."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import (
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from sparsead.errors import ConfigError, unknown, unknown_key, wrong_type

Spec = TypeVar("Spec")

_LONGEST_NAME = 64
_LARGEST = 2**31 - 1
"""The largest size or count that torch can take everywhere."""
_REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
_NAME = re.compile(rf"[\w-][\w.-]{{0,{_LONGEST_NAME - 1}}}")
SPLIT_NAME = rf"[A-Za-z_][A-Za-z0-9_]{{0,{_LONGEST_NAME - 1}}}"
"""The pattern of the name of a split, which is a part of the names of scores and of files."""


def read_group(config: DictConfig, group: str, schema: type[Spec]) -> Spec:
    """Return a group of a composed configuration as an instance of `schema`.

    Keys that `schema` does not declare go into its field `options`, if it has one; the key
    `_target_` becomes the field `method`.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    values = OmegaConf.to_container(config[group], resolve=True)
    if not isinstance(values, dict):
        raise ConfigError(f"{group}={values}: is not a configuration group")
    target = values.pop("_target_", None)
    if target is not None:
        values["method"] = target
    names = {f.name for f in fields(schema)}  # type: ignore[arg-type]
    own = names - {"options"}  # no key of a configuration is called so
    options = {str(key): value for key, value in values.items() if key not in own}
    known: dict[str, Any] = {str(key): values[key] for key in values if key in own}
    if "options" in names:
        return to_dataclass(group, schema, known | {"options": options})
    return to_dataclass(group, schema, known | options)


def check_keys(group: str, values: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Refuse a key of `values` that is not allowed.

    Raises:
        ConfigError: a key is not allowed; the message suggests the most similar allowed one.
    """
    for key in values:
        if key not in allowed:
            raise ConfigError(unknown_key(f"{group}.{key}", allowed))


def check_choice(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not allowed, and suggest the most similar allowed one."""
    if value not in allowed:
        raise ConfigError(unknown(key, value, allowed))


def check_name(key: str, value: str) -> None:
    """Refuse a name that could not safely be the name of a file or a part of it.

    Raises:
        ConfigError: it has other characters than letters, digits, `.`, `_` and `-`, or begins with
            a dot, which would hide the file; the message suggests a similar name.
    """
    if _NAME.fullmatch(value):
        return
    near = re.sub(r"[^\w-]+", "-", value).strip("-")[:_LONGEST_NAME]
    hint = f"; did you mean {near}?" if near else ""
    raise ConfigError(
        f"{key}={value}: a name has only letters, digits, '.', '_' and '-', does not begin with a "
        f"dot, and has at most {_LONGEST_NAME} characters{hint}"
    )


def check_split_name(key: str, value: str) -> None:
    """Refuse the name of a split under which a run's predictions could not be recorded.

    Raises:
        ConfigError: the name does not match `SPLIT_NAME`; the message suggests a similar name.
    """
    if re.fullmatch(SPLIT_NAME, value):
        return
    near = re.sub(r"[^A-Za-z0-9_]+", "_", value).strip("_")[:_LONGEST_NAME]
    hint = f"; did you mean {near}?" if re.fullmatch(SPLIT_NAME, near) else ""
    raise ConfigError(
        f"{key}={value}: the name of a split has only the letters A to Z and a to z, digits and "
        f"'_', does not begin with a digit, and has at most {_LONGEST_NAME} characters{hint}"
    )


def check_revision(key: str, revision: str | None) -> None:
    """Refuse a text that cannot be a branch, tag or commit; it becomes part of a path in a cache.

    Raises:
        ConfigError: the message names the key.
    """
    if revision is not None and _REVISION.fullmatch(revision) is None:
        raise ConfigError(f"{key}={revision}: must be a branch, a tag or a commit of the hub")


def check_recordable(key: str, value: object) -> None:
    """Refuse what a record cannot hold: a key that is no text, a number that no machine computes.

    Such a number is not finite, or whole and larger than 64 bits: no float is near it.

    Args:
        key: the key that the user types; the keys of a mapping are added to it.
        value: any value of a configuration, also a mapping or a list of values; `options` holds
            keys that are typed without that name.

    Raises:
        ConfigError: the message names the key of the number, or of the mapping.
    """
    if isinstance(value, Mapping):
        for name, each in value.items():
            if not isinstance(name, str):
                raise ConfigError(f"{key}: its key {name} is not a text; give it a name")
            check_recordable(key if name == "options" else f"{key}.{name}".lstrip("."), each)
    elif isinstance(value, list | tuple):
        for each in value:
            check_recordable(key, each)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key}={value:g}: must be a finite number")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ConfigError(f"{key}: its whole number has more than 64 bits; choose a smaller one")


def check_largest(group: str, values: Mapping[str, Any]) -> None:
    """Refuse a size or a count that is too large for torch."""
    for key, value in values.items():
        if isinstance(value, int) and value > _LARGEST:
            raise ConfigError(f"{group}.{key}={value}: must be at most {_LARGEST}")


def check_minimum(key: str, value: float, low: float) -> None:
    """Refuse a number below `low`."""
    if value < low:
        raise ConfigError(f"{key}={value:g}: must be at least {low:g}")


def expand_user(path: str) -> str:
    """Return a path with the home folder in place of a `~` at its beginning, as shells do."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # there is no such user
        return path


def check_folder(key: str, path: str | None) -> None:
    """Refuse a path that is not a folder."""
    if path is not None and not Path(path).is_dir():
        raise ConfigError(f"{key}={path}: is not a folder")


def list_keys(config: DictConfig) -> list[str]:
    """Return all keys of a composed configuration with their groups, and without Hydra's own."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return list(_flatten("", OmegaConf.to_container(own)))


def list_leaves(prefix: str, values: Any) -> Iterator[tuple[str, Any]]:
    """Yield each key of nested mappings, joined by dots after the prefix, and its value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from list_leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _flatten(prefix: str, values: object) -> Iterator[str]:
    for key, value in values.items() if isinstance(values, dict) else ():
        yield f"{prefix}{key}"
        yield from _flatten(f"{prefix}{key}.", value)


def is_interpolated(key: str, config: DictConfig) -> bool:
    """Tell whether any value of `config` refers to `key`, as `${key…}` or `${oc.select:key…}`."""
    return re.search(rf"[{{:]{re.escape(key)}\b", OmegaConf.to_yaml(config)) is not None


@cache
def _defaults(schema: type[Any]) -> DictConfig:
    """Return the fields and defaults of `schema`; cached, because a copy is much faster to make."""
    config: DictConfig = OmegaConf.structured(schema)
    return config


def _refuse_other_kind(key: str, value: Any, annotation: str) -> None:
    """Refuse a boolean where a text is expected, and a number where a boolean is.

    OmegaConf would take `true` as the text "True", and any whole number but 0 as true.

    Raises:
        ConfigError: the value is a boolean, or a list with one, or a number in place of a boolean.
    """
    kinds = annotation.split(" | ")
    if type(value) is int and "bool" in kinds and not {"int", "float"} & {*kinds}:
        raise ConfigError(wrong_type(key, value, annotation))
    if isinstance(value, bool) and "bool" not in kinds and {"str", "Path"} & {*kinds}:
        raise ConfigError(wrong_type(key, value, annotation))
    if isinstance(value, list | ListConfig) and "list[str]" in kinds:
        for element in value:
            if isinstance(element, bool):
                raise ConfigError(wrong_type(key, element, "str"))


_BASES = {
    "adapter": "houlsby",
    "backbone": "folder",
    "protocol": "default",
    "pruner": "/base_pruner",
    "task": "text",
}
"""What a file of the user's own in a group takes the keys from that it does not have itself."""


def _describe_base(group: str) -> str:
    base = _BASES.get(group)
    if base is None:
        return ""
    return (
        f"; a file of yours takes it from another one: begin it with `defaults: [{base}, _self_]`"
    )


def to_dataclass(group: str, schema: type[Spec], values: Mapping[str, Any]) -> Spec:
    """Return `values` as an instance of `schema`, converted to the types of its fields.

    Args:
        group: config group of the values, for error messages; empty for top-level keys.
        schema: a dataclass.
        values: values by field name.

    Raises:
        ConfigError: a key is unknown, or a value is missing, has the wrong type or is out of range.
    """
    prefix = f"{group}." if group else ""
    annotations = {f.name: str(f.type) for f in fields(schema)}  # type: ignore[arg-type]
    config = deepcopy(_defaults(schema))  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in annotations:
            raise ConfigError(unknown_key(f"{prefix}{key}", annotations))
        _refuse_other_kind(f"{prefix}{key}", value, annotations[key])
        try:
            config[key] = value
        except OmegaConfBaseException as error:
            raise ConfigError(wrong_type(f"{prefix}{key}", value, annotations[key])) from error
    try:
        result = OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        hint = "" if str(error.full_key) in values else _describe_base(group)
        raise ConfigError(f"{prefix}{error.full_key}: is missing{hint}") from error
    except InterpolationResolutionError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{prefix}{error.full_key}: {reason}") from error
    assert isinstance(result, schema)
    return result
