"""Deleting runs into the trash, and restoring them from it.

The trash is a folder of outputs like any other, so that every verb can read what is in it. A run
is moved by renaming it, so that nobody ever finds one that is partly deleted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sparsead.errors import StorageError
from sparsead.runs.failure import failure_file
from sparsead.runs.files import remove
from sparsead.runs.record import replaced_folder
from sparsead.runs.staging import list_unfinished

_PREFIX = ".deleted-"


def trash_folder(outputs: Path) -> Path:
    """Return the folder of the deleted runs, which need not exist; it is laid out as `outputs`."""
    return outputs / "trash"


def move_to_trash(outputs: Path, names: Iterable[str]) -> None:
    """Move records and recorded failures to the trash, where they replace older ones of these runs.

    Args:
        outputs: the folder of the outputs.
        names: names of the runs' folders in `outputs/runs`.

    Raises:
        StorageError: a file cannot be moved.
    """
    _move_runs(outputs / "runs", trash_folder(outputs) / "runs", names)


def restore_from_trash(outputs: Path, names: Iterable[str]) -> None:
    """Move deleted runs back; the caller leaves out those that have been recorded anew.

    Args:
        outputs: the folder of the outputs.
        names: names of the runs' folders in the trash.

    Raises:
        StorageError: a file cannot be moved.
    """
    _move_runs(trash_folder(outputs) / "runs", outputs / "runs", names)


def is_recorded_anew(outputs: Path, name: str) -> bool:
    """Tell whether a deleted run is recorded again, or has failed again since it was deleted.

    Args:
        outputs: the folder of the outputs.
        name: name of the run's folder in the trash.
    """
    now, deleted = outputs / "runs" / name, trash_folder(outputs) / "runs" / name
    failed_again = failure_file(now).exists() and failure_file(deleted).exists()
    return now.exists() or failed_again


def delete_permanently(runs: Path, names: Iterable[str]) -> None:
    """Delete records and recorded failures, and what a killed deletion has left.

    Args:
        runs: the folder of the runs.
        names: names of the runs' folders in it.

    Raises:
        StorageError: a file cannot be deleted.
    """
    with _raise_storage_error(runs):
        _finish_deletions(runs)
        for name in names:
            folder = runs / name
            remove(failure_file(folder))
            remove(replaced_folder(folder))  # otherwise readers would restore it
            _delete_folder(folder)
            for staging in _unfinished(runs, name):
                _delete_folder(staging)


def _move_runs(source: Path, target: Path, names: Iterable[str]) -> None:
    with _raise_storage_error(source):
        target.mkdir(parents=True, exist_ok=True)
        _finish_deletions(target)
        for name in names:
            remove(replaced_folder(source / name))  # otherwise readers would restore it
            _move(failure_file(source / name), failure_file(target / name))
            _move(source / name, target / name)
            for staging in _unfinished(source, name):
                _move(staging, target / staging.name)


def _unfinished(runs: Path, name: str) -> list[Path]:
    """Return what processes that were interrupted have left of a run."""
    return [staging for folder, staging in list_unfinished(runs) if folder.name == name]


def _move(source: Path, target: Path) -> None:
    if not source.exists():  # the run only failed, or another process deletes it too
        return
    _delete_folder(target)
    if source.is_symlink():  # a relative link would lead elsewhere from its new folder
        target.symlink_to(source.resolve())
        source.unlink()
    else:
        shutil.move(source, target)


def _delete_folder(path: Path) -> None:
    deleted = path.with_name(_PREFIX + path.name)
    with suppress(FileNotFoundError):
        path.rename(deleted)
    remove(deleted)


def _finish_deletions(folder: Path) -> None:
    for half in folder.glob(f"{_PREFIX}*"):
        remove(half)


@contextmanager
def _raise_storage_error(runs: Path) -> Iterator[None]:
    """Turn an OSError in the block into a StorageError of one line."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.filename or runs}: cannot be deleted ({error})") from error
