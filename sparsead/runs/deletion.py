"""Deleting runs: a run is renamed first, so that nobody finds one that is partly deleted."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sparsead.errors import StorageError
from sparsead.runs.failure import failure_file
from sparsead.runs.record import replaced_folder

_PREFIX = ".deleted-"


def delete_runs(runs: Path, names: Iterable[str]) -> None:
    """Delete records and recorded failures, and what a killed deletion has left.

    Args:
        runs: the folder of the runs.
        names: names of the runs' folders in it.

    Raises:
        StorageError: a file cannot be deleted.
    """
    try:
        for half in runs.glob(f"{_PREFIX}*"):
            _delete(half)
        for name in names:
            _delete_run(runs / name)
    except OSError as error:
        raise StorageError(f"{error.filename or runs}: cannot be deleted ({error})") from error


def _delete_run(folder: Path) -> None:
    deleted = folder.with_name(_PREFIX + folder.name)
    _delete(failure_file(folder))
    _delete(replaced_folder(folder))  # otherwise readers would restore it
    with suppress(FileNotFoundError):  # it only failed, or another process deletes it too
        folder.rename(deleted)
    _delete(deleted)


def _delete(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
