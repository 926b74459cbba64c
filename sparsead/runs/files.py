"""Atomic writes of small files, and the digests of files."""

from __future__ import annotations

import hashlib
import os
import uuid
from functools import cache
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a temporary file and rename it to `path`, so that no reader sees a partial file.

    Args:
        path: the file; its folder is created if necessary.
        content: bytes, or a text to write in UTF-8.

    Raises:
        OSError: it cannot be written; an existing file at `path` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        beside.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content; it is cached until the file is modified."""
    status = path.stat()
    return _digest_of(path.resolve(), status.st_mtime_ns, status.st_size)


@cache
def _digest_of(path: Path, _modified: int, _size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
