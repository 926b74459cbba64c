"""`sparsead predict`: a finished run's predictions for the rows of a file, as JSON lines."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from sparsead.arguments import Parser
from sparsead.config import DEVICES
from sparsead.errors import ConfigError, RecordError
from sparsead.runs.query import add_run_arguments
from sparsead.tasks.files import read_file
from sparsead.trained import TrainedRun, load
from sparsead.training.device import resolve_device


def main() -> None:
    """Entry point of `sparsead predict`."""
    parser = Parser("sparsead predict", __doc__)
    add_run_arguments(parser)
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="FILE",
        help="rows: .jsonl, .csv, .tsv or .parquet",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="new file; default: stdout")
    parser.add_argument("--backbone", metavar="FOLDER", help="where the run's backbone is now")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    arguments = parser.parse()
    if arguments.output is not None and os.path.lexists(arguments.output):
        raise ConfigError(f"--output {arguments.output}: exists already; name a file that does not")
    device = resolve_device(arguments.device)
    run = load(arguments.run, arguments.outputs, arguments.backbone)
    nn.Module.to(run.model, device)
    records = predictions(run, arguments.input)
    text = "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        _write(arguments.output, text)


def predictions(run: TrainedRun, file: Path) -> Iterator[dict[str, Any]]:
    """Yield for each row the line that it begins on (in a Parquet file: its number), and the rest.

    Args:
        run: a finished run.
        file: with a column of text for each of the inputs of the run's task.

    Raises:
        DataError: the file is malformed, lacks a column, or a value is no text.
    """
    rows = read_file(file, run.task.inputs)
    texts = {column: rows.texts(column) for column in run.task.inputs}
    values = [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]
    for line, record in zip(rows.lines, run.predict(values), strict=True):
        yield {"line": line} | record


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
