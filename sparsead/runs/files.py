"""Atomic writes of small files, and the digests of files."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from contextlib import suppress
from errno import EINVAL
from functools import cache
from pathlib import Path

from sparsead.errors import ConfigError, RecordError

_DEVICES = Path("/dev")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a temporary file and rename it to `path`, so that no reader sees a partial file.

    Args:
        path: the file; its folder is created if necessary.
        content: bytes, or a text to write in UTF-8.

    Raises:
        OSError: it cannot be written; an existing file at `path` is unchanged. The error names
            `path`, and not the temporary file, which is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        beside.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def check_new(flag: str, path: Path) -> None:
    """Refuse a path that the user gave for something new if something is there already.

    Args:
        flag: the option that names the path, for the message; empty for an argument without one.
        path: the path.

    Raises:
        ConfigError: there is something at this path.
    """
    if os.path.lexists(path):
        given = f"{flag} {path}".strip()
        raise ConfigError(f"{given}: exists already; give a new path")


def write_result_file(path: Path, content: str | bytes) -> None:
    """Write a file that the user asked for, as `write_atomically` does.

    A device or a pipe, such as /dev/stdout, is written to and not replaced.

    Raises:
        RecordError: there is a folder at this path, or it cannot be written.
    """
    if path.is_dir():
        raise RecordError(f"{path}: is a folder; name a file")
    try:
        if path.parent == _DEVICES or path.is_fifo():
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        else:
            write_atomically(path, content)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error})") from error


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; what is gone already is ignored.

    Raises:
        OSError: it cannot be removed.
    """
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def is_folder_name(name: str) -> bool:
    """Tell whether a part of a file's name can name a folder beside it, unlike `..` or nothing."""
    return name not in ("", ".", "..")


def check_readable(path: Path) -> None:
    """Refuse a pipe or a device in the place of a file: reading one may never end.

    Raises:
        OSError: it is one; a path at which there is nothing passes.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(EINVAL, "Is neither a file nor a folder", str(path))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content; it is cached until the file is modified."""
    check_readable(path)
    status = path.stat()
    return _digest_of(path.resolve(), status.st_mtime_ns, status.st_size)


@cache
def _digest_of(path: Path, _modified: int, _size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
