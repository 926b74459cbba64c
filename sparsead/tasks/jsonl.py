"""JSON Lines of texts: one object a line, UTF-8."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsead.errors import DataError, unknown_key


def read_jsonl(path: Path, columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Read the named columns of a JSON Lines file; lines of white space alone are passed over.

    Args:
        path: the file; a byte order mark is skipped.
        columns: our name of each column → the key of its text in every object.

    Returns:
        One row an object, keyed by our names.

    Raises:
        DataError: the file has no examples, or a line is not UTF-8, no JSON object, or has no
            text under a key; the message names file and line.
    """
    rows = [
        {name: _text(place, row, key) for name, key in columns.items()}
        for place, row in _objects(path)
    ]
    if not rows:
        raise DataError(f"{path}: has no examples")
    return rows


def check_unique(path: Path, rows: list[dict[str, str]], column: str) -> None:
    """Refuse two rows with the same text in a column.

    Raises:
        DataError: there are two.
    """
    seen: set[str] = set()
    for row in rows:
        if row[column] in seen:
            raise DataError(f"{path}: two examples have the {column} {row[column]!r}")
        seen.add(row[column])


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            place = f"{path}:{number}"
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield place, _object(place, line)


def _object(place: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: is not UTF-8 ({error.reason})") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{place}:{error.colno}: is not JSON ({error.msg})") from error
    except RecursionError as error:
        raise DataError(f"{place}: is not JSON that can be read (nested too deep)") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: is no JSON object")
    return row


def _text(place: str, row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        raise DataError(f"{place}: {unknown_key(key, row)}")
    if not isinstance(row[key], str):
        raise DataError(f"{place}: {key!r} is no text")
    return str(row[key])
