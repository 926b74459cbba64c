"""Tab-separated files in the format of GLUE: UTF-8, no quoting, mostly with a header line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sparsead.errors import DataError
from sparsead.tasks.rows import (
    MissingColumnError,
    Rows,
    check_header,
    check_no_header,
    read_text,
    split_lines,
)


def read_tsv(
    path: Path,
    columns: Mapping[str, str],
    header: Sequence[str] = (),
    skip_short: bool = False,
) -> Rows:
    """Read the named columns of a TSV file.

    Args:
        path: the file; a byte order mark is skipped.
        columns: the task's name of each column → its name in the header.
        header: names of the columns, if the file has no header line.
        skip_short: leave out lines with too few fields, instead of refusing the file.

    Returns:
        One row per line, keyed by the task's names.

    Raises:
        DataError: the file is empty or not UTF-8, or a line has another number of fields than there
            are columns; the message names file and line.
    """
    lines = split_lines(read_text(path))
    if lines and not lines[-1]:
        lines.pop()
    names = list(header) or (lines[0].split("\t") if lines else [])
    first = 1 if header else 2
    body = lines[first - 1 :]
    if not body:
        raise DataError(f"{path}: has no examples")
    check_header(f"{path}:1", names)
    for column in columns.values():
        if column not in names:
            raise MissingColumnError(
                f"{path}:1: has no column {column!r} (columns: {', '.join(names)})",
                columns.values(),
                names,
            )
    places = {name: names.index(column) for name, column in columns.items()}
    values, numbers, skipped = [], [], []
    for number, line in enumerate(body, start=first):
        fields = line.split("\t")
        if skip_short and len(fields) < len(names):
            skipped.append(number)
            continue
        if len(fields) != len(names):
            raise DataError(
                f"{path}:{number}: has {len(fields)} tab-separated fields, not {len(names)} "
                f"({', '.join(names)})"
            )
        check_no_header(f"{path}:{number}", fields, names)
        values.append({name: fields[place] for name, place in places.items()})
        numbers.append(number)
    return Rows(path, values, numbers, skipped, columns)
