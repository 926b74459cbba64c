"""Check the form of the user's own files from which a run is composed, before Hydra reads them.

For most of what is wrong in them, Hydra prints a traceback that names neither the file nor the key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from sparsead.config.backbone_folder import is_path
from sparsead.config.choices import config_folders, list_choices, list_groups
from sparsead.config.quoting import overridden_key
from sparsead.config.safe_yaml import read_mapping
from sparsead.errors import ConfigError, unknown

_GLOBAL = re.compile(r"(\s*#\s*@.*\n)*?\s*#\s*@package +_global_\s*$", re.MULTILINE)
"""The comment with which a file's keys are those of the whole run; Hydra reads it first only."""
_FORM = "defaults: [override /pruner: random]"
_KEYWORDS = ("override", "optional")
_TYPED_ONLY = ("search", "tracking")
"""Groups below `experiment` in train.yaml, which a file of that group cannot choose for Hydra."""


def check_own_files(overrides: Sequence[str]) -> None:
    """Check the files in the folder of `--config-dir` that the overrides choose.

    The files that they name in their defaults are checked too.

    Args:
        overrides: overrides as Hydra takes them.

    Raises:
        ConfigError: a file has no keys, its defaults are not what Hydra takes, or it gives a group
            a value in place of keys; the message says what to write.
    """
    for override in overrides:
        group = overridden_key(override).partition("@")[0]
        _check_file(f"{group}/{override.partition('=')[2]}", ())


def _check_file(place: str, above: tuple[Path, ...]) -> None:
    """Check one file and those that its defaults name; a file of the project's is not read.

    Args:
        place: the file without its ending, below the folder of `--config-dir`.
        above: the files whose defaults lead to this one.
    """
    found = (folder / f"{place}.yaml" for folder in config_folders()[1:])
    file = next((path for path in found if path.is_file()), None)
    if file is None:
        return
    shown = _shown(file)
    if file in above:
        raise ConfigError(f"{shown}: its defaults lead back to itself; leave {file.stem} out there")
    content = _read(file, shown)
    if _GLOBAL.match(file.read_text("utf-8")):
        _check_groups(shown, content)
    elif place.startswith("experiment/"):
        raise ConfigError(
            f"{shown}: must begin with the line `# @package _global_`, because its keys are those "
            "of the whole run"
        )
    for each in _list_defaults(shown, place, content):
        _check_file(each, (*above, file))


def _read(file: Path, shown: str) -> dict[str, Any]:
    """Return the keys and values of a file that Hydra can compose; none if it is not YAML."""
    try:
        content = read_mapping(file)
    except ConfigError as error:
        if isinstance(error.__cause__, MarkedYAMLError):
            return {}  # Hydra names the line
        raise
    try:
        OmegaConf.create(content)
    except OmegaConfBaseException as error:  # such as a `${` that is not closed
        reason = " ".join(str(error).split("full_key:")[0].split())
        raise ConfigError(f"{shown}: cannot be read ({reason})") from error
    return content


def _check_groups(shown: str, content: Mapping[str, Any]) -> None:
    """Refuse a value in place of the keys of a group."""
    for group in set(list_groups()) & {*content}:
        value = content[group]
        if not isinstance(value, dict):
            raise ConfigError(f"{shown}: {_describe_value(group, value)}")


def _describe_value(group: str, value: object) -> str:
    """Return what to write in place of a value that stands for the keys of a group."""
    given = f"{group}: {'null' if value is None else value}"
    if value is None:
        return f"{given}: removes the group; leave it out"
    if group == "sparsity" and _is_number(value):
        return f"{given}: write `sparsity: {{ratio: {value}}}`"
    if group == "hydra" or not isinstance(value, str):
        return f"{given}: must have keys and values"
    if group == "backbone" and is_path(value):
        return (
            f"{given}: write `backbone: {{path: {value}}}` and `defaults: [override /backbone: "
            "folder]`"
        )
    choices = list_choices(group)
    if value not in choices:
        return unknown(group, value, choices)
    if group in _TYPED_ONLY:
        return f"{given}: give {group}={value} on the command line"
    if group == "experiment":
        return f"{given}: write `defaults: [/experiment/{value}]`"
    return f"{given}: write `defaults: [override /{group}: {value}]`"


def _list_defaults(shown: str, place: str, content: Mapping[str, Any]) -> Iterator[str]:
    """Yield the places of the files that the defaults of a file name.

    Args:
        shown: the file, for messages.
        place: its own place.
        content: its keys and values.
    """
    defaults = content.get("defaults", [])
    if not isinstance(defaults, list):
        raise ConfigError(f"{shown}: defaults: must be a list, such as `{_FORM}`")
    group = PurePosixPath(place).parent
    for item in defaults:
        if isinstance(item, str):
            yield _absolute(group, item)
        elif isinstance(item, dict) and len(item) == 1:
            yield from _list_choice(shown, group, *next(iter(item.items())))
        else:
            raise ConfigError(
                f"{shown}: defaults: {item}: must be the name of a file, or a choice such as "
                "`override /pruner: random`"
            )


def _list_choice(shown: str, group: PurePosixPath, key: object, value: object) -> Iterator[str]:
    """Yield the places of the files that an item of the defaults chooses, as `/pruner: random`."""
    *keywords, name = str(key).split() or [""]
    values = value if isinstance(value, list) else [value]
    typed = f"{shown}: defaults: {key}: {value}"
    chosen = name.strip("/")
    if wrong := [each for each in values if each is not None and not isinstance(each, str)]:
        meant = chosen == "sparsity" and _is_number(wrong[0])
        instead = f"write `sparsity: {{ratio: {value}}}` below the defaults"
        names = f"must be the name of a choice: {', '.join(list_choices(chosen))}"
        raise ConfigError(f"{typed}: {instead if meant else names}")
    if chosen == "backbone" and any(is_path(str(each)) for each in values):
        raise ConfigError(
            f"{typed}: write `override /backbone: folder`, and `backbone: {{path: {value}}}` below "
            "the defaults"
        )
    if chosen in _TYPED_ONLY and "override" in keywords:
        raise ConfigError(f"{typed}: give {chosen}={value} on the command line")
    of_the_run = chosen.split("/")[0] in list_groups()
    if of_the_run and not name.startswith("/") and {*keywords} <= {*_KEYWORDS}:
        raise ConfigError(f"{typed}: write `override /{chosen}: {value}`")
    yield from (f"{_absolute(group, name)}/{each}" for each in values)


def _absolute(group: PurePosixPath, name: str) -> str:
    """Return the place of a file or a group that defaults name, from the group they stand in."""
    plain = name.removeprefix("optional ").partition("@")[0]
    return (group / plain).as_posix().lstrip("/")


def _is_number(value: object) -> bool:
    """Tell whether Hydra takes a value as a number; PyYAML takes `1e-1` as a text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True


def _shown(file: Path) -> str:
    relative = os.path.relpath(file)
    return str(file) if relative.startswith("..") else relative
