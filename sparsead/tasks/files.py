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
from sparsead.tasks.rows import (
    REPEATED_HEADER,
    MissingColumnError,
    Rows,
    check_header,
    check_no_header,
    quote_value,
    read_text,
    split_lines,
    unique_keys,
)
from sparsead.tasks.tsv import read_tsv

_LONGEST_FIELD = 2**31 - 1

Layouts = Sequence[Sequence[str]]
"""For each form in which rows can be written, its columns."""


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
    return check_rows(_READERS[path.suffix](path, columns), columns)


def read_layout(path: Path, layouts: Layouts) -> Rows:
    """Read a file whose rows have the columns of one of several layouts, the first that fits.

    Raises:
        DataError: the file is malformed, or fits none; the message is that of the layout of which
            it has the most columns.
    """
    return _first_fitting(layouts, lambda columns: read_file(path, columns))


def read_mappings(values: Sequence[Any], layouts: Layouts) -> Rows:
    """Return rows that are given as mappings, as `read_layout` returns those of a file.

    Raises:
        DataError: a value is no mapping, or lacks a column.
    """

    def read(columns: Sequence[str]) -> Rows:
        picked = []
        for number, row in enumerate(values):
            if not isinstance(row, Mapping):
                named = ", ".join(columns)
                raise DataError(f"row {number}: {quote_value(row)} is not a mapping with {named}")
            flat = _flattened(f"row {number}", row)
            check_columns(f"row {number}", columns, flat)
            picked.append({column: flat[column] for column in columns})
        return Rows("row", picked, range(len(picked)))

    return _first_fitting(layouts, read)


def _first_fitting(layouts: Layouts, read: Callable[[Sequence[str]], Rows]) -> Rows:
    missing: list[MissingColumnError] = []
    for columns in layouts:
        try:
            return read(columns)
        except MissingColumnError as error:
            missing.append(error)
    raise max(missing, key=lambda error: error.found)


def check_rows(rows: Rows, columns: Sequence[str]) -> Rows:
    """Return the rows of a file or of a data set, which have these columns.

    Raises:
        DataError: there are none, or one repeats the names of the columns.
    """
    if not rows.values:
        raise DataError(f"{rows.path}: has no examples")
    for row, values in enumerate(rows.values):
        if len(columns) > 1 and all(values[column] == column for column in columns):
            raise rows.error(row, columns[0], REPEATED_HEADER)
    return rows


def _read_tsv(path: Path, columns: Sequence[str]) -> Rows:
    return read_tsv(path, {column: column for column in columns})


def _read_csv(path: Path, columns: Sequence[str]) -> Rows:
    csv.field_size_limit(_LONGEST_FIELD)
    lines = _csv_lines(path)
    _, header = next(lines, (1, []))
    if not header:
        raise DataError(f"{path}: has no examples")
    check_header(f"{path}:1", header)
    check_columns(f"{path}:1", columns, header)
    values, numbers = [], []
    for number, fields in lines:
        if len(fields) != len(header):
            raise DataError(
                f"{path}:{number}: number of fields: {len(fields)}, of the header: {len(header)}"
            )
        check_no_header(f"{path}:{number}", fields, header)
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
    for number, line in enumerate(split_lines(read_text(path)), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        row = _flattened(place, _json_object(place, line))
        check_columns(place, columns, row)
        values.append({column: row[column] for column in columns})
        numbers.append(number)
    return Rows(path, values, numbers)


def _json_object(place: str, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=unique_keys)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
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
        objects = [each.name for each in empty.schema if pyarrow.types.is_struct(each.type)]
        names = [*objects, *empty.flatten().column_names]
        check_header(str(path), names)
        check_columns(str(path), columns, names)
        read = (_flattened(str(path), row) for row in file.read(columns=list(columns)).to_pylist())
        values = [{column: row.get(column) for column in columns} for row in read]
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: is not a readable Parquet file ({error})") from error
    return Rows(path, values, range(1, len(values) + 1))


def _flattened(place: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Add the values inside objects as columns, with names such as `translation.en`."""
    inner = {
        f"{column}.{key}": value
        for column, values in row.items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
    check_header(place, [*row, *inner])
    return {**inner, **row}


def check_columns(place: str, columns: Sequence[str], there: Any) -> None:
    """Refuse a column that is not among those that are there.

    Raises:
        MissingColumnError: the message begins with `place`.
    """
    for column in columns:
        if column not in there:
            message = unknown(f"{place}: column", column, (str(name) for name in there))
            raise MissingColumnError(message, columns, there)


_READERS: Mapping[str, Callable[[Path, Sequence[str]], Rows]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
