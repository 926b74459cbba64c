"""`sparsead predict`: predict the rows of a file, or GLUE's test sets, with a finished run.

$ sparsead predict RUN --input rows.jsonl
$ sparsead predict RUN --submission submission
"""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sparsead.assembly.trained import TrainedRun, load
from sparsead.config.arguments import Parser, add_run_arguments, add_trust, user_path
from sparsead.config.run import DEVICES
from sparsead.errors import ConfigError, DataError, RecordError
from sparsead.errors.display import escape_json
from sparsead.runs.files import write_atomically
from sparsead.runs.query import find_run
from sparsead.tasks.contract import NewRow, ReadsJson, WritesSubmission
from sparsead.training.device import resolve_device
from sparsead.training.quiet import quiet_libraries
from sparsead.training.threads import use_threads


def main() -> None:
    """Entry point of `sparsead predict`."""
    arguments = _parser().parse()
    _check_flags(arguments)
    quiet_libraries()
    use_threads()
    device = resolve_device(arguments.device)
    run = load(arguments.run, arguments.outputs, arguments.backbone, arguments.trust)
    nn.Module.to(run.model, device)
    if arguments.submission is not None:
        data = arguments.data or _data_folder(arguments.run, arguments.outputs)
        for file in submit(run, arguments.submission, data):
            sys.stdout.write(f"{file}\n")
        return
    records = predict_file(run, arguments.input)
    lines = (escape_json(json.dumps(record, ensure_ascii=False)) for record in records)
    text = "".join(f"{line}\n" for line in lines)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        _write(arguments.output, text)


def predict_file(run: TrainedRun, file: Path) -> Iterator[dict[str, Any]]:
    """Yield, for each row of a file, its key and the task's prediction.

    The key is the line on which the row begins (in a Parquet file, the row's number), with the id
    of a question where a row holds several, or the id of a question in SQuAD's JSON format.

    Args:
        run: a finished run.
        file: a file with a column for each input of the run's task; SuperGLUE's own files too.

    Raises:
        DataError: the file is malformed or lacks a column, or a value is not a text.
    """
    if file.suffix == ".json" and isinstance(run.task, ReadsJson):
        values = run.task.read_json(file)
        names = [{"id": row["id"]} for row in values]
        texts = [{column: row[column] for column in run.inputs} for row in values]
        new: Sequence[NewRow] = [NewRow(*each) for each in enumerate(texts)]
    else:
        rows, new = run.read_rows(file)
        names = [
            {"line": rows.lines[each.row]} | ({} if each.id is None else {"id": each.id})
            for each in new
        ]
    try:
        records = run.predict_new(new)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    for name, record in zip(names, records, strict=True):
        yield name | record


def submit(run: TrainedRun, folder: Path, data: Path | None) -> list[Path]:
    """Predict the test sets of the run's task, and write a submission file for each to `folder`.

    Args:
        run: a finished run.
        folder: folder to write to; it may contain the files of other tasks.
        data: folder of the test sets; None loads them from the hub.

    Returns:
        The paths of the files written.

    Raises:
        ConfigError: the task has no submission format, or a file exists already.
        DataError: a test set is missing or malformed.
        SourceError: the test sets cannot be loaded from the hub.
    """
    task = run.task
    if not isinstance(task, WritesSubmission):
        name = run.spec.task.name
        raise ConfigError(
            f"--submission: task={name} has no submission format; only GLUE's tasks have one"
        )
    for name in task.tests:
        _check_new("--submission", folder / f"{name}.tsv")
    tests = task.load_tests(data)
    texts = {name: task.submission(run.predict(rows)) for name, rows in tests.items()}
    files = {folder / f"{name}.tsv": text for name, text in texts.items()}
    for file, text in files.items():
        _write(file, text)
    return list(files)


def _parser() -> Parser:
    parser = Parser("sparsead predict", __doc__)
    add_run_arguments(parser)
    wanted = parser.add_mutually_exclusive_group(required=True)
    suffixes = ".jsonl, .csv, .tsv or .parquet; for SQuAD's tasks also its .json format"
    wanted.add_argument("--input", type=user_path, metavar="FILE", help=f"file of rows: {suffixes}")
    wanted.add_argument(
        "--submission",
        type=user_path,
        metavar="FOLDER",
        help="write predictions for the task's test sets to this folder, in GLUE's format",
    )
    output = "new file to write (default: the terminal)"
    parser.add_argument("--output", type=user_path, metavar="FILE", help=output)
    data = "folder of the test sets (default: the run's task.path)"
    parser.add_argument("--data", type=user_path, metavar="FOLDER", help=data)
    backbone = "folder of the run's backbone, if it has moved"
    parser.add_argument("--backbone", metavar="FOLDER", help=backbone)
    parser.add_argument("--device", choices=DEVICES, default="auto")
    add_trust(parser)
    return parser


def _check_flags(arguments: Namespace) -> None:
    if arguments.submission is None and arguments.data is not None:
        raise ConfigError(f"--data {arguments.data}: works only with --submission")
    if arguments.data is not None and not arguments.data.is_dir():
        raise ConfigError(f"--data {arguments.data}: is not a folder")
    if arguments.output is None:
        return
    if arguments.submission is not None:
        raise ConfigError(f"--output {arguments.output}: works only with --input")
    _check_new("--output", arguments.output)


def _data_folder(run: str, outputs: Path) -> Path | None:
    """Return the folder from which the run read its data; None if it came from the hub."""
    path = find_run(run, outputs).result["config"]["task"]["path"]
    if path is not None and not Path(path).is_dir():
        raise ConfigError(f"task.path={path}: no longer exists; give the folder with --data FOLDER")
    return None if path is None else Path(path)


def _check_new(flag: str, file: Path) -> None:
    if os.path.lexists(file):
        raise ConfigError(f"{flag} {file}: exists already; give a new path")


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error})") from error
