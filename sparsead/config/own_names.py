"""Names of what is the user's own: a backbone after its folder, a data set after its source."""

from __future__ import annotations

import os
import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from sparsead.config.schema import expand_user

_LONGEST_NAME = 64
_LONGEST_BYTES = 96
"""Most bytes of a name in letters other than a to z: it becomes part of a folder's name."""
_SAYS_NOTHING = ("train", "training", "data", "dataset")
"""Names of files that say only which split is in them."""


def name_from_path(path: Path, otherwise: str) -> str:
    """Return the name of a file or folder, with other characters than those of a name as `-`.

    Args:
        path: a file, whose suffix is left out, or a folder.
        otherwise: the name where none of the path's characters can be in one.
    """
    last = os.path.basename(os.path.abspath(path))
    return _as_name(last if path.is_dir() else Path(last).stem, otherwise)


def _as_name(text: str, otherwise: str) -> str:
    name = re.sub(r"[^\w.-]+", "-", text).strip("-.")[:_LONGEST_NAME]
    return name.encode()[:_LONGEST_BYTES].decode("utf-8", "ignore") or otherwise


def name_task(config: DictConfig) -> DictConfig:
    """Return a run's configuration with a name for the user's own data set, if it has none.

    It is that of the training file or, if the file is called `train` or the like, of its folder; of
    a data set of the hub, its name without the owner, with its configuration. Without either, it is
    that of the choice in conf/task.
    """
    task = config.get("task")
    if not isinstance(task, DictConfig) or OmegaConf.is_missing(task, "name"):
        return config
    if task.get("name") is not None or not task.get("family"):
        return config
    train = task.get("train")
    name = str(task.family)
    if isinstance(train, str):
        file = Path(expand_user(train))
        place = file.absolute().parent if file.stem.lower() in _SAYS_NOTHING else file
        name = name_from_path(place, name)
    elif isinstance(task.get("hub"), str):
        parts = [str(task.hub).rpartition("/")[2], task.get("hub_config")]
        name = _as_name("-".join(str(part) for part in parts if part), name)
    named = OmegaConf.merge(config, {"task": {"name": name}})
    assert isinstance(named, DictConfig)
    return named
