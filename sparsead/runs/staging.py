"""Staging: a run's record is written in a hidden folder, which is renamed when it is complete.

A staging folder belongs to one claim, whose token ends its name. A process that takes a run over
renames the folder to its own name, and so keeps the checkpoints in it. The process that lost the
run, if it is still alive, no longer finds its folder: whatever it writes or removes later cannot
reach the work of the process that has taken over.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EDQUOT, EFBIG, EINVAL, EIO, ENOSPC, ENOTDIR, ENOTSUP, EPERM, EROFS, ESTALE
from pathlib import Path

from sparsead.errors import (
    AlreadyRecordedError,
    RecordError,
    SparseadError,
    StorageError,
    TakenOverError,
)
from sparsead.runs.claim import Claim, claimed, owns
from sparsead.runs.failure import failure_file
from sparsead.runs.files import is_folder_name, remove
from sparsead.runs.record import replaced_folder

_PREFIX = ".partial-"
_FULL_BYTES = 1 << 20
_FULL = (ENOSPC, EDQUOT)
_STORAGE = (*_FULL, EFBIG, EROFS, EACCES, EPERM, EIO, ENOTDIR, ESTALE)

Steps = Callable[[Path], int]
"""A function from a staging folder to the number of training steps that need not be repeated."""


@contextmanager
def staged(folder: Path, *, replace: bool = False, steps: Steps = lambda _: 0) -> Iterator[Path]:
    """Claim a run, yield a staging folder for its record, and finally rename it to `folder`.

    The staging folder of a killed or interrupted process is taken over with all that is in it. A
    failure removes the staging folder, unless the run can be resumed from it: it was taken over,
    or contains a checkpoint. Ctrl-C and a killed process leave it as it is.

    Args:
        folder: folder of the record.
        replace: replace an existing record.
        steps: chooses the folder to take over, should there be several: that with most steps.

    Raises:
        AlreadyRecordedError: the run is recorded already, and `replace` is false.
        ClaimedError: another process is working on this run.
        TakenOverError: another process has taken over this run in the meantime.
        StorageError: the outputs folder cannot be written, its disk is full, or it was deleted.
    """
    created = [path for path in (folder.parent, *folder.parent.parents) if not path.exists()]
    try:
        with _raise_storage_errors(folder):
            _make(folder.parent)
            with claimed(folder) as claim, _owned(folder, claim, replace, steps) as staging:
                yield staging
                _move_into_place(staging, folder, replace=replace)
    finally:
        _remove_empty(created)


@contextmanager
def _raise_storage_errors(folder: Path) -> Iterator[None]:
    """Turn an error that the storage of the outputs has caused into a StorageError.

    An error of the run itself, such as an unreadable data file, remains as it is.
    """
    try:
        yield
    except RecordError:
        raise
    except OSError as error:
        if not _is_of_storage(error, folder):
            raise
        raise StorageError(_say_why(folder, error)) from error
    except Exception as error:
        cause = _find_cause(error, folder.parent)
        if cause is None:
            raise
        raise StorageError(_say_why(folder, cause)) from error


def check_owned(staging: Path) -> None:
    """Check that no other process has taken over the run; called before anything is written.

    Args:
        staging: the folder that `staged` yields.

    Raises:
        TakenOverError: another process has taken over the run, for instance because the machine
            slept, or someone has deleted the staging folder.
        StorageError: the outputs folder was deleted.
    """
    name, _, token = staging.name.removeprefix(_PREFIX).rpartition(".")
    folder = staging.with_name(name)
    if not folder.parent.is_dir():
        raise StorageError(f"outputs={folder.parent.parent}: was deleted while the run was trained")
    if not owns(folder, token):
        raise TakenOverError(f"{folder}: another process has taken over this run")
    if not staging.is_dir():
        raise TakenOverError(
            f"{folder}: another process has taken over this run, or its unfinished folder "
            f"{staging.name} was deleted"
        )


def list_unfinished(runs: Path) -> list[tuple[Path, Path]]:
    """Return for each unfinished run the folder that its record will have, and its staging folder.

    Args:
        runs: the folder of the runs.
    """
    found: dict[Path, Path] = {}
    for staging in sorted(runs.glob(f"{_PREFIX}*")):
        name, _, token = staging.name.removeprefix(_PREFIX).rpartition(".")
        named = is_folder_name(name) and token.isalnum()
        if named and not staging.is_symlink() and staging.is_dir():
            found[runs / name] = staging
    return list(found.items())


def discard(folder: Path) -> None:
    """Remove what an unfinished run has left, its checkpoints included.

    Raises:
        ClaimedError: another process is working on this run.
    """
    if _left_by_others(folder):
        with claimed(folder):
            _remove_all(_left_by_others(folder))


@contextmanager
def _owned(folder: Path, claim: Claim, replace: bool, steps: Steps) -> Iterator[Path]:
    """Yield the staging folder; on an error remove it, unless the run can be resumed from it."""
    _finish_replacing(folder)
    staging = folder.with_name(f"{_PREFIX}{folder.name}.{claim.token}")
    fresh = not _take_over(folder, staging, steps)
    if folder.exists() and not replace:
        _remove_all([staging])
        raise AlreadyRecordedError(f"{folder}: another process has just finished this run")
    try:
        with _raise_storage_errors(folder):  # before a removed folder makes room on a full disk
            yield staging
    except AlreadyRecordedError:
        _remove_all([staging])
        raise
    except Exception as error:
        loss = error if isinstance(error, TakenOverError) else _find_loss(staging)
        if loss is None and fresh and not any(staging.glob("checkpoint-*")):
            _remove_all([staging])
        if loss is None or loss is error:
            raise
        raise loss from error


def _take_over(folder: Path, staging: Path, steps: Steps) -> bool:
    """Rename what an earlier process left to `staging`, or make a new folder.

    Returns:
        Whether an earlier process has left something.
    """
    left = _left_by_others(folder)
    while left:
        chosen = max(left, key=steps)
        with suppress(FileNotFoundError):  # its owner is alive, and has just renamed it
            chosen.rename(staging)
            _detach_files(staging)
            _remove_all(_left_by_others(folder, but=staging))
            return True
        left = _left_by_others(folder)
    staging.mkdir()
    return False


def _detach_files(folder: Path) -> None:
    """Copy the files in a folder, so that no process that has one of them open can change it.

    What is neither a file nor a folder is removed. No run makes a link, and what the run would
    write through one that somebody else has made lies outside the outputs.
    """
    _remove_temporary(folder)
    for path in list(folder.iterdir()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            path.unlink()
        elif path.is_file():
            copy = path.with_name(f".{path.name}.copy")
            shutil.copy2(path, copy)
            copy.replace(path)


def _left_by_others(folder: Path, but: Path | None = None) -> list[Path]:
    """Return the staging folders of a run other than `but`."""
    start = f"{_PREFIX}{folder.name}."
    found = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder.parent) as entries:
        for entry in entries:
            token = entry.name.removeprefix(start)
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name.startswith(start) and token.isalnum() and is_folder:
                found.append(Path(entry.path))
    return sorted(path for path in found if path != but)


def _remove_temporary(folder: Path) -> None:
    """Remove what a process that was killed could not rename any more; its name is hidden."""
    for path in folder.glob(".*"):
        remove(path)


def _remove_all(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_symlink():  # the folder of a record, which its user keeps elsewhere
            folder.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _find_loss(staging: Path) -> RecordError | None:
    """Return why this process no longer owns the run, which explains any error; None if it does."""
    try:
        check_owned(staging)
    except RecordError as loss:
        return loss
    return None


def _move_into_place(staging: Path, folder: Path, *, replace: bool) -> None:
    check_owned(staging)
    _remove_temporary(staging)
    _write_through(staging)
    failure_file(folder).unlink(missing_ok=True)
    if replace and folder.exists():
        folder.rename(replaced_folder(folder))
    try:
        staging.rename(folder)
    except OSError:
        _finish_replacing(folder)
        if folder.exists() and not replace:
            raise AlreadyRecordedError(f"{folder}: another process has finished this run") from None
        raise
    _flush(folder.parent)
    _remove_all([replaced_folder(folder), *_left_by_others(folder)])


def _write_through(folder: Path) -> None:
    """Have the system write a folder's files to the disk, so that a power failure loses none."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (EINVAL, ENOTSUP):  # a file system that cannot do it for folders
            raise
    finally:
        os.close(descriptor)


def _finish_replacing(folder: Path) -> None:
    """Restore the old record if a process was killed between the two renames of a replacement."""
    replaced = replaced_folder(folder)
    if replaced.exists() and not folder.exists():
        replaced.rename(folder)
    _remove_all([replaced])


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(_say_why(folder / "run", error)) from error


def _is_of_storage(error: OSError, folder: Path) -> bool:
    """Tell whether an error is one of the outputs' storage, and not of a file that the run reads.

    A full disk is one wherever the file lies: libraries write temporary files elsewhere.
    """
    if error.errno in _FULL or error.errno not in _STORAGE or not isinstance(error.filename, str):
        return error.errno in _STORAGE
    return Path(error.filename).absolute().is_relative_to(folder.parent.parent.absolute())


def _find_cause(error: Exception, folder: Path) -> OSError | None:
    """Return why a file could not be written: safetensors and torch raise errors of their own.

    An error of this project names its own file, which may lie elsewhere.
    """
    told = "" if isinstance(error, SparseadError) else str(error)
    codes = [code for code in (*_FULL, EFBIG) if os.strerror(code) in told]
    if not codes and is_full(folder):
        codes = [ENOSPC]
    return OSError(codes[0], os.strerror(codes[0])) if codes else None


def _say_why(folder: Path, error: OSError) -> str:
    reason = "its disk is full" if error.errno in _FULL else "cannot be written"
    where = f"outputs={folder.parent.parent}"
    return f"{where}: {reason} ({error}); records are intact; run the same command again to resume"


def is_full(folder: Path) -> bool:
    """Tell whether the file system has no more space, or can hold no more files."""
    try:
        state = os.statvfs(folder)
    except OSError:
        return False
    free = state.f_bavail * state.f_frsize
    return free < _FULL_BYTES or (state.f_files > 0 and state.f_favail == 0)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
