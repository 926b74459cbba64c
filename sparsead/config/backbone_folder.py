"""A backbone in a folder of the user's own, named after that folder.

`backbone=./myroberta` is short for `backbone=folder backbone.path=./myroberta`, and so is
`backbone.path=./myroberta` where no backbone is chosen. Its name is the folder's, and its
architecture is what `config.json` in the folder says. A chosen backbone that is read from a folder,
as in `backbone=roberta-base backbone.path=FOLDER`, keeps its name, and has to be of that
architecture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sparsead.config.choices import list_choices
from sparsead.config.own_names import name_from_path
from sparsead.config.quoting import overridden_key
from sparsead.config.schema import check_folder, check_recordable, expand_user
from sparsead.config.trust import CODE_KEYS
from sparsead.errors import ConfigError

_CHOICE = "folder"
_CONFIG_FILE = "config.json"
_NO_ARCHITECTURE = (
    *("architectures", "transformers_version", "torch_dtype", "dtype", "problem_type"),
    *("id2label", "label2id", "num_labels", "finetuning_task", "task_specific_params"),
)
"""Keys of a `config.json` that say how the model was saved, or what its last head was for."""

_DEEPEST = 20
"""Levels of nested values in a `config.json`; real ones have three or four."""


def expand_folders(arguments: Sequence[str]) -> list[str]:
    """Rewrite overrides that name a backbone by its folder to `backbone=folder backbone.path=…`.

    Raises:
        ConfigError: a sweep mixes folders with names of choices.
    """
    expanded: list[str] = []
    for argument in arguments:
        expanded += _expand(argument)
    chosen = any(argument.startswith("backbone=") for argument in expanded)
    path = [argument for argument in expanded if _sets_path(argument)]
    if path and not chosen and path[-1].partition("=")[2] != "null":
        expanded.insert(expanded.index(path[0]), f"backbone={_CHOICE}")
    return expanded


def names_folder(override: str) -> bool:
    """Tell whether an override lets the backbone's configuration depend on files of a folder."""
    return _sets_path(override) or _expand(override) != [override]


def _sets_path(override: str) -> bool:
    return overridden_key(override) == "backbone.path" and not override.startswith("~")


def describe_folder(config: DictConfig) -> DictConfig:
    """Return a run's configuration with the name and the architecture of the backbone's folder.

    Raises:
        ConfigError: there is no folder, its `config.json` cannot be used, or it is of another
            architecture than the chosen backbone.
    """
    backbone = config.get("backbone")
    if not isinstance(backbone, DictConfig):
        return config
    path = backbone.get("path")
    named = OmegaConf.is_missing(backbone, "name") or backbone.get("name") is not None
    if path is None and not named:
        raise ConfigError(
            f"backbone={_CHOICE}: needs backbone.path=FOLDER; backbone=./FOLDER is short for both"
        )
    if path is None or "architecture" not in backbone.keys():  # noqa: SIM118 - it may be ???
        return config  # the key that a file of the user's own lacks is named where keys are read
    folder = Path(expand_user(str(path)))
    check_folder("backbone.path", str(path))
    if not (folder / _CONFIG_FILE).exists() and named:
        return config  # the files that are missing are named where they are read
    found = _read_architecture(folder)
    if backbone.get("architecture"):
        _check_architecture(config, found, folder)
        return config
    name = backbone.name if named else name_from_path(folder, _CHOICE)
    described = {"backbone": {"name": name, "architecture": found}}
    return OmegaConf.merge(config, described)  # type: ignore[return-value]


def _expand(argument: str) -> list[str]:
    key, equals, value = argument.partition("=")
    if key != "backbone" or not equals:
        return [argument]
    parts = [part.strip("'\" ") for part in value.split(",")]
    paths = [part for part in parts if is_path(part)]
    if paths and len(paths) < len(parts):
        raise ConfigError(f"{argument}: mixes folders and names; sweep them one kind at a time")
    if paths:
        return [f"backbone={_CHOICE}", f"backbone.path={value}"]
    if value and Path(value).is_dir() and value not in list_choices("backbone"):
        raise ConfigError(
            f"{argument}: no such choice; the folder of this name is backbone=./{value}"
        )
    return [argument]


def is_path(value: str) -> bool:
    """Tell whether what stands for a backbone is the path of a folder, and no name of a choice."""
    return value in (".", "..") or value.startswith(("./", "../", "/", "~"))


def _read_architecture(folder: Path) -> dict[str, Any]:
    """Return what a folder's `config.json` says of the model's architecture."""
    file = folder / _CONFIG_FILE
    try:
        if file.exists() and not file.is_file():
            raise OSError("it is no file")  # reading a pipe may never end
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"backbone.path={folder}: has no {_CONFIG_FILE}; it is not a model's folder"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise ConfigError(f"{file}: names no model_type, as a model's configuration does")
    kept = {
        key: value
        for key, value in content.items()
        if key not in _NO_ARCHITECTURE and not key.startswith("_") and not key.endswith(CODE_KEYS)
    }
    if _is_nested_deeper(kept, _DEEPEST):  # OmegaConf would not get to the end of it
        raise ConfigError(f"{file}: is nested deeper than a model's configuration is ({_DEEPEST})")
    if "${" in json.dumps(kept):  # OmegaConf would put other values in its place
        raise ConfigError(f"{file}: has a '${{', which a model's configuration does not need")
    try:
        check_recordable("", kept)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    return {"model_type": kept.pop("model_type"), **kept}


def _is_nested_deeper(value: object, levels: int) -> bool:
    """Tell whether mappings and lists lie within each other on more than so many levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_nested_deeper(each, levels - 1) for each in inner)


def _check_architecture(config: DictConfig, found: Mapping[str, Any], folder: Path) -> None:
    backbone = config.backbone
    stated: Any = OmegaConf.to_container(backbone.architecture, resolve=True)
    for key, value in stated.items():
        if key in found and found[key] != value:
            raise ConfigError(
                f"backbone.path={folder}: its {_CONFIG_FILE} has {key}={found[key]}, but "
                f"backbone={backbone.name} has {value}; leave out backbone={backbone.name}, so "
                "that the backbone is named after its folder"
            )
