"""Predictions of a finished run: of the rows of a file, and of the test sets of its task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sparsead.assembly.trained import TrainedRun
from sparsead.errors import ConfigError
from sparsead.runs.files import check_new, write_result_file
from sparsead.tasks.contract import NewRow, ReadsJson, WritesSubmission


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
        places = [f"{file}: question {row['id']!r}" for row in values]
    else:
        rows, new = run.read_rows(file)
        names = [
            {"line": rows.lines[each.row]} | ({} if each.id is None else {"id": each.id})
            for each in new
        ]
        places = [f"{file}:{rows.lines[each.row]}" for each in new]
    records = run.predict_new(new, places)
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
        check_new("--submission", folder / f"{name}.tsv")
    tests = task.load_tests(data)
    texts = {name: task.submission(run.predict(rows)) for name, rows in tests.items()}
    files = {folder / f"{name}.tsv": text for name, text in texts.items()}
    for file, text in files.items():
        write_result_file(file, text)
    return list(files)
