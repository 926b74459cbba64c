"""`sparsead predict`: a finished run's predictions for the rows of a file, as JSON lines."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sparsead.config import DEVICES
from sparsead.errors import ConfigError, DataError, RecordError, unknown
from sparsead.runs.query import add_run_arguments
from sparsead.trained import TrainedRun, load
from sparsead.training.device import resolve_device

Row = dict[str, Any]
NumberedRows = Iterator[tuple[int, Any]]


def main() -> None:
    """Entry point of `sparsead predict`."""
    parser = argparse.ArgumentParser(prog="sparsead predict", description=__doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "--input", type=Path, required=True, metavar="FILE", help="rows: .jsonl, .csv or .tsv"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="new file; default: stdout")
    parser.add_argument("--backbone", metavar="FOLDER", help="where the run's backbone is now")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    arguments = parser.parse_args()
    if arguments.output is not None and os.path.lexists(arguments.output):
        raise ConfigError(f"--output {arguments.output}: exists already; name a file that does not")
    device = resolve_device(arguments.device)
    rows = read_rows(arguments.input)
    run = load(arguments.run, arguments.outputs, arguments.backbone)
    if not hasattr(run.task, "inputs"):
        raise ConfigError(
            f"{arguments.run}: task={run.spec.task.name} has no classes or numbers to predict; "
            "its predictions are in the run's folder"
        )
    check_columns(arguments.input, rows, run.task.inputs)
    nn.Module.to(run.model, device)
    text = "".join(f"{json.dumps(record)}\n" for record in predictions(run, list(rows.values())))
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        _write(arguments.output, text)


def predictions(run: TrainedRun, rows: Sequence[Row]) -> Iterator[Row]:
    """Yield for each row what was predicted, behind the row's columns that the task did not read.

    Args:
        run: a finished run.
        rows: each with the columns that the run's task reads.
    """
    for row, record in zip(rows, run.predict(rows), strict=True):
        others = {key: value for key, value in row.items() if key not in run.task.inputs}
        yield others | record


def read_rows(path: Path) -> dict[int, Row]:
    """Read the rows of a file by the number of the line that each begins on.

    Args:
        path: .jsonl, one JSON object a line; .csv; or .tsv as GLUE has it, without quoting.

    Raises:
        DataError: the file is missing, of another kind, empty or malformed.
    """
    if path.suffix not in _READERS:
        raise DataError(unknown(f"--input {path}: suffix", path.suffix, _READERS))
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--input {path}: cannot be read ({error})") from error
    rows: dict[int, Row] = {}
    for line, row in _READERS[path.suffix](path, text):
        if not isinstance(row, dict) or None in row:
            raise DataError(f"{path}:{line}: has not one value for each column")
        rows[line] = row
    if not rows:
        raise DataError(f"{path}: has no rows")
    return rows


def check_columns(path: Path, rows: Mapping[int, Row], columns: Sequence[str]) -> None:
    """Refuse rows that lack a column, or have something else than text in it.

    Raises:
        DataError: the message names the file, the line and the column.
    """
    for line, row in rows.items():
        for column in columns:
            if not isinstance(row.get(column), str):
                found = f"{row[column]!r} is no text" if column in row else "is missing"
                raise DataError(
                    f"{path}:{line}: {column} {found} (the run's task reads {', '.join(columns)})"
                )


def _json_lines(path: Path, text: str) -> NumberedRows:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: is no JSON ({error})") from error


def _comma_separated(path: Path, text: str) -> NumberedRows:
    return _separated(path, text, strict=True)


def _tab_separated(path: Path, text: str) -> NumberedRows:
    return _separated(path, text, delimiter="\t", quoting=csv.QUOTE_NONE)


def _separated(path: Path, text: str, **dialect: Any) -> NumberedRows:
    reader = csv.DictReader(io.StringIO(text, newline=""), **dialect)
    line = 2
    try:
        for row in reader:
            yield line, None if None in row.values() else row
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{line}: {error}") from error


_READERS: dict[str, Callable[[Path, str], NumberedRows]] = {
    ".jsonl": _json_lines,
    ".csv": _comma_separated,
    ".tsv": _tab_separated,
}


def _write(path: Path, text: str) -> None:
    """Write a file, complete or not at all."""
    beside = path.with_name(f".partial-{secrets.token_hex(4)}-{path.name}")
    try:
        beside.write_text(text, "utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error})") from error
    finally:
        beside.unlink(missing_ok=True)
