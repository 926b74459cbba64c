"""The config groups of conf/ and their choices, as used in the override GROUP=CHOICE.

A folder of the user's own, which `--config-dir` names, may add choices to the groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from filecmp import cmp
from importlib.resources import files
from pathlib import Path
from typing import Any

from sparsead.config.safe_yaml import read_mapping
from sparsead.errors import ConfigError, unknown
from sparsead.errors.hints import nearest_choice

_own_folders: list[Path] = []

_TYPED_ALONE = ("task", "adapter", "pruner", "backbone", "protocol")
"""The groups whose choices are typed without their group by mistake, the most likely one first."""
_LIKENESS = 0.6


def use_own_folder(folder: Path | None) -> None:
    """Let this process find the choices of the user's own folder too; None leaves them out.

    Raises:
        ConfigError: a file of the folder has the place of another one of the project's, of which
            Hydra would read one without a word.
    """
    _own_folders.clear()
    if folder is None:
        return
    (project,) = config_folders()
    for path in sorted(folder.rglob("*.yaml")):
        place = path.relative_to(folder)
        if (project / place).is_file() and not cmp(project / place, path, shallow=False):
            raise ConfigError(
                f"--config-dir {folder}: {place.as_posix()} is a file of the project; give yours "
                "another name"
            )
    _own_folders.append(folder.absolute())


@contextmanager
def own_folder_within(folder: str | Path | None) -> Iterator[None]:
    """Find the choices of this folder too inside the block, and those of the former one after it.

    Raises:
        ConfigError: there is no such folder, or see `use_own_folder`.
    """
    former = _own_folders[-1] if _own_folders else None
    if folder is not None and not Path(folder).is_dir():
        raise ConfigError(f"config_dir={folder}: is not a folder")
    try:
        if folder is not None:
            use_own_folder(Path(folder))
        yield
    finally:
        use_own_folder(former)


def config_folders() -> list[Path]:
    """Return conf/, and then the user's own folder if there is one."""
    return [Path(str(files("sparsead.conf"))), *_own_folders]


def search_path() -> list[str]:
    """Return the override with which Hydra finds the user's own folder; none without one."""
    # Hydra's grammar knows no other quote in a path than this one.
    quoted = [str(folder).replace("'", r"\'") for folder in _own_folders]
    return [f"hydra.searchpath=['file://{folder}']" for folder in quoted]


def list_groups() -> list[str]:
    """Return the names of the config groups, which are the folders of conf/ with YAML files."""
    folders = (path for path in config_folders()[0].iterdir() if path.is_dir())
    return sorted(folder.name for folder in folders if next(folder.rglob("*.yaml"), None))


def list_choices(group: str) -> list[str]:
    """Return the names of a group's choices, which are the files in its folder.

    The name of an experiment starts with its subfolder, as in table1/snip. Files at the top of
    conf/, beside train.yaml, are not choices: they hold values that several choices share. Hydra's
    own lists, such as the one in `sparsead train --help`, follow the same rule.

    Returns:
        The names in alphabetical order; an unknown group gives none.
    """
    found = (
        path.relative_to(folder / group).with_suffix("")
        for folder in config_folders()
        for path in (folder / group).rglob("*.yaml")
        if not path.name.startswith(".") and path.is_file()  # an editor's own files are no choices
    )
    return sorted({path.as_posix() for path in found})


def find_choice(group: str, choice: str) -> Path:
    """Return the file of a choice.

    Raises:
        ConfigError: the group has no such choice.
    """
    files_of_choice = (folder / group / f"{choice}.yaml" for folder in config_folders())
    found = next((file for file in files_of_choice if file.is_file()), None)
    if found is None:
        raise ConfigError(unknown(group, choice, list_choices(group)))
    return found


def read_choice(group: str, choice: str) -> dict[str, Any]:
    """Return the keys in the file of a choice itself, without those of the files it is based on.

    Raises:
        ConfigError: the group has no such choice, or its file is not YAML with keys.
    """
    return read_mapping(find_choice(group, choice))


def read_own_rate(group: str, choice: str) -> float | None:
    """Return the learning rate that a choice of the project's states for its runs; None without it.

    Args:
        group: `adapter` or `task`.
        choice: a name, such as a record's; there need be no such choice.
    """
    if choice != Path(choice).name:  # a name in a record may have been written by anybody
        return None
    file = config_folders()[0] / group / f"{choice}.yaml"
    stated = read_mapping(file).get("protocol", {}) if file.is_file() else {}
    return float(stated["learning_rate"]) if "learning_rate" in stated else None


def suggest_override(word: str) -> str | None:
    """Return what was probably meant by a choice without its group: `pruner=snip` by `snip`."""
    groups = reversed(_TYPED_ALONE)  # of choices with the same name, that of the first group stays
    named = {choice: f"{group}={choice}" for group in groups for choice in list_choices(group)}
    near = nearest_choice(word, list(named), _LIKENESS)
    return None if near is None else named[near]
