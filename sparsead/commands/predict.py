"""`sparsead predict`: predict the rows of a file, or GLUE's test sets, with a finished run.

$ sparsead predict RUN --input rows.jsonl
$ sparsead predict RUN --submission submission
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

from sparsead.config.arguments import Parser, add_run_arguments, add_trust, user_path
from sparsead.config.run import DEVICES
from sparsead.errors import ConfigError
from sparsead.errors.display import escape_json
from sparsead.runs.files import check_new, write_result_file
from sparsead.runs.query import find_trusted_run
from sparsead.runs.record import RunRecord


def main() -> None:
    """Entry point of `sparsead predict`."""
    arguments = _parser().parse()
    _check_flags(arguments)
    record = find_trusted_run(arguments.run, arguments.outputs, arguments.trust)
    data = None if arguments.submission is None else arguments.data or _data_folder(record)
    _predict(record, arguments, data)


def _predict(record: RunRecord, arguments: Namespace, data: Path | None) -> None:
    """Load the run and print or write what it predicts; torch is imported only here."""
    from torch import nn

    from sparsead.assembly.predictions import predict_file, submit
    from sparsead.assembly.trained import load
    from sparsead.training.device import resolve_device
    from sparsead.training.quiet import quiet_libraries
    from sparsead.training.threads import use_threads

    quiet_libraries()
    use_threads()
    device = resolve_device(arguments.device)
    run = load(record.folder, backbone=arguments.backbone, trust=arguments.trust)
    nn.Module.to(run.model, device)
    if arguments.submission is not None:
        for file in submit(run, arguments.submission, data):
            sys.stdout.write(f"{file}\n")
        return
    predictions = predict_file(run, arguments.input)
    lines = (escape_json(json.dumps(each, ensure_ascii=False)) for each in predictions)
    text = "".join(f"{line}\n" for line in lines)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        write_result_file(arguments.output, text)


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
    if arguments.input is not None and not arguments.input.is_file():
        raise ConfigError(f"--input {arguments.input}: is not a file")
    if arguments.data is not None and not arguments.data.is_dir():
        raise ConfigError(f"--data {arguments.data}: is not a folder")
    if arguments.output is None:
        return
    if arguments.submission is not None:
        raise ConfigError(f"--output {arguments.output}: works only with --input")
    check_new("--output", arguments.output)


def _data_folder(record: RunRecord) -> Path | None:
    """Return the folder from which the run read its data; None if it came from the hub."""
    path = record.result["config"]["task"]["path"]
    if path is not None and not Path(path).is_dir():
        raise ConfigError(f"task.path={path}: no longer exists; give the folder with --data FOLDER")
    return None if path is None else Path(path)
