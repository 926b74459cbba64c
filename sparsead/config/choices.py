"""The config groups of conf/ and their choices, as used in the override GROUP=CHOICE."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def list_groups() -> list[str]:
    """Return the names of the config groups, which are the folders of conf/."""
    return sorted(path.name for path in _conf().iterdir() if path.is_dir())


def list_choices(group: str) -> list[str]:
    """Return the names of a group's choices, which are the files in its folder.

    The name of an experiment starts with its subfolder, as in table1/snip. Files at the top of
    conf/, beside train.yaml, are not choices: they hold values that several choices share. Hydra's
    own lists, such as the one in `sparsead train --help`, follow the same rule.

    Returns:
        The names in alphabetical order; an unknown group gives none.
    """
    folder = _conf() / group
    found = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return sorted(path.as_posix() for path in found)


def _conf() -> Path:
    return Path(str(files("sparsead.conf")))
