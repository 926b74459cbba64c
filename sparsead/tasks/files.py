"""The user's own data files: CSV, TSV, JSON lines and Parquet, read by column name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from sparsead.errors import DataError, unknown
from sparsead.tasks.rows import Rows, quote_value, read_text
from sparsead.tasks.tsv import read_tsv

_LONGEST_FIELD = 2**31 - 1


def read_file(path: Path, columns: Sequence[str]) -> Rows:
    """Read the named columns of a file, whose suffix determines its format.

    Args:
        path: a .csv (quoted as spreadsheets do), .tsv (no quoting), .jsonl or .parquet file.
        columns: names of the columns in the file; in JSON lines and Parquet `translation.en` is the
            key `en` of a column of objects.

    Raises:
        DataError: the file is empty or malformed, or has no such column; the message names file,
            line (in a Parquet file: row) and column.
    """
    if path.suffix not in _READERS:
        raise DataError(unknown(f"{path}: suffix", path.suffix, _READERS))
    rows = _READERS[path.suffix](path, columns)
    if not rows.values:
        raise DataError(f"{path}: has no examples")
    return rows


def _read_tsv(path: Path, columns: Sequence[str]) -> Rows:
    return read_tsv(path, {column: column for column in columns})


def _read_csv(path: Path, columns: Sequence[str]) -> Rows:
    csv.field_size_limit(_LONGEST_FIELD)
    lines = _csv_lines(path)
    _, header = next(lines, (1, []))
    if not header:
        raise DataError(f"{path}: has no examples")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path}:1: the column {twice!r} is there twice")
    _check_columns(f"{path}:1", columns, header)
    values, numbers = [], []
    for number, fields in lines:
        if len(fields) != len(header):
            raise DataError(
                f"{path}:{number}: number of fields: {len(fields)}, of the header: {len(header)}"
            )
        row = dict(zip(header, fields, strict=True))
        values.append({column: row[column] for column in columns})
        numbers.append(number)
    return Rows(path, values, numbers)


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line at which each record begins, and its fields; blank lines are skipped."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path}:{begins}: {error}") from error
        if fields is None:
            return
        if fields:
            yield begins, fields


def _read_jsonl(path: Path, columns: Sequence[str]) -> Rows:
    values, numbers = [], []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        row = _flattened(_json_object(f"{path}:{number}", line))
        _check_columns(f"{path}:{number}", columns, row)
        values.append({column: row[column] for column in columns})
        numbers.append(number)
    return Rows(path, values, numbers)


def _json_object(place: str, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: character {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: {quote_value(row)} is not a JSON object")
    return row


def _read_parquet(path: Path, columns: Sequence[str]) -> Rows:
    try:
        file = parquet.ParquetFile(path)
        empty = file.schema_arrow.empty_table()
        _check_columns(str(path), columns, {*empty.column_names, *empty.flatten().column_names})
        read = map(_flattened, file.read(columns=list(columns)).to_pylist())
        values = [{column: row.get(column) for column in columns} for row in read]
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: is not a readable Parquet file ({error})") from error
    return Rows(path, values, range(1, len(values) + 1))


def _flattened(row: Mapping[str, Any]) -> dict[str, Any]:
    """Add the values inside objects as columns, with names such as `translation.en`."""
    inner = {
        f"{column}.{key}": value
        for column, values in row.items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
    return {**inner, **row}


def _check_columns(place: str, columns: Sequence[str], there: Any) -> None:
    for column in columns:
        if column not in there:
            raise DataError(unknown(f"{place}: column", column, (str(name) for name in there)))


_READERS: Mapping[str, Callable[[Path, Sequence[str]], Rows]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
