"""The groups of conf/ and their choices: what a user can name in GROUP=CHOICE."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def groups() -> list[str]:
    """Return the names of the groups, which are the folders of conf/."""
    return sorted(path.name for path in _conf().iterdir() if path.is_dir())


def choices(group: str) -> list[str]:
    """Return the names of a group's choices, which are the files in its folder.

    An experiment's name begins with the folder that it lies in, as in table1/snip. The files
    beside conf/train.yaml lie in no folder and are no choices: they hold what several choices
    share. Hydra's own lists, such as the one in `sparsead train --help`, follow the same rule.

    Returns:
        The names in alphabetical order; none where there is no such group.
    """
    folder = _conf() / group
    found = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return sorted(path.as_posix() for path in found)


def _conf() -> Path:
    return Path(str(files("sparsead.conf")))
