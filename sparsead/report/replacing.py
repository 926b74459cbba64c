"""Files of results that the user names: an earlier one is replaced, any other file is kept."""

from __future__ import annotations

import io
from pathlib import Path

from sparsead.errors import RecordError
from sparsead.errors.translation import translate_errors
from sparsead.runs.files import write_result_file

_MARKS = (b"Matplotlib", b'name="generator" content="sparsead"')
"""What pictures and HTML reports say of the program that wrote them."""
_PARQUET = b"PAR1"
_HEAD = 4096
"""Number of bytes at a file's beginning in which its program is named."""
_ALIKE = 16
"""Number of bytes that two tables begin with alike: those of their first headings."""
_FIRST_COLUMNS = 3
_EMPTY = (b"", b"[]")
"""What a file holds in which nothing is lost."""


def write_asked_file(path: Path, content: str | bytes) -> None:
    """Write a file that the user named; it may replace an earlier one of the same kind.

    So the same command can be given again, and no other file is lost by a name that was mistyped.

    Raises:
        RecordError: there is a file of another kind, or it cannot be written.
    """
    written = content.encode("utf-8") if isinstance(content, str) else content
    if path.is_file():
        _check_same_kind(path, written)
    write_result_file(path, written)


def _check_same_kind(path: Path, content: bytes) -> None:
    refusal = f"{path}: exists, and this command did not write it; give a new path"
    with translate_errors(lambda reason: RecordError(f"{refusal} ({reason})")):
        earlier = path.read_bytes()
        same = earlier.strip() in _EMPTY or _kind(earlier) == _kind(content)
    if not same:
        raise RecordError(refusal)


def _kind(content: bytes) -> bytes | list[str]:
    """Return what files of one kind have in common: their program's name or first headings."""
    if content.startswith(_PARQUET):
        from pyarrow import parquet

        names: list[str] = parquet.read_schema(io.BytesIO(content)).names[:_FIRST_COLUMNS]
        return names
    named = (content[:4] + mark for mark in _MARKS if mark in content[:_HEAD])
    return next(named, content[:_ALIKE])
