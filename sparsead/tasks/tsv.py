"""Tab-separated files as GLUE has them: UTF-8, a header line, no quoting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sparsead.errors import DataError


def read_tsv(path: Path, columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Read the named columns of a TSV file with a header.

    Args:
        path: the file; a byte order mark is skipped.
        columns: our name of each column → its name in the header.

    Returns:
        One row a line, keyed by our names.

    Raises:
        DataError: the file is empty or not UTF-8, or a line has not as many fields as the
            header; the message names file and line.
    """
    lines = [line.rstrip("\r") for line in _text(path).split("\n")]
    if lines and not lines[-1]:
        lines.pop()
    if len(lines) < 2:
        raise DataError(f"{path}: has no examples")
    header = lines[0].split("\t")
    places = {name: _place(path, header, column) for name, column in columns.items()}
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("\t")
        if len(fields) != len(header):
            raise DataError(
                f"{path}:{number}: has {len(fields)} tab-separated fields, the header {len(header)}"
            )
        rows.append({name: fields[place] for name, place in places.items()})
    return rows


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: is not UTF-8 ({error.reason})") from error


def _place(path: Path, header: list[str], column: str) -> int:
    if column not in header:
        raise DataError(f"{path}:1: has no column {column!r} (columns: {', '.join(header)})")
    return header.index(column)
