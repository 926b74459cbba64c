"""Predictions on a split: converted to records, scored, and kept with the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset
from transformers import EvalPrediction

from sparsead.runs.record import higher_is_better as by_name
from sparsead.tasks.contract import (
    GeneratesText,
    PredictsRecords,
    Record,
    ScoresOutputs,
    StatesDirection,
    Task,
)

Scorer = Callable[[EvalPrediction], dict[str, float]]


def build_scorer(task: Task, rows: Dataset, file: Path) -> Scorer | None:
    """Return what scores an evaluation on the encoded rows; None: the loss alone.

    Where the task makes records, those of the last evaluation stay in `file`.
    """
    if isinstance(task, GeneratesText):
        return None
    if not isinstance(task, PredictsRecords):
        assert isinstance(task, ScoresOutputs)  # see check_scored
        return task.scores

    def score_records(output: EvalPrediction) -> dict[str, float]:
        records = task.predictions(output, rows)
        if PartialState().is_main_process:
            file.write_text(format_json_lines(records), "utf-8")
        return task.record_scores(records)

    return score_records


def higher_is_better(task: Task, metric: str) -> bool:
    """Tell which way the task's main metric is better: by its name, where the task does not say."""
    return task.higher_is_better if isinstance(task, StatesDirection) else by_name(metric)


def predictions_file(folder: Path, split: str) -> Path:
    """Return where a run keeps what it predicted on a split: one JSON record a line."""
    return folder / f"predictions-{split}.jsonl"


def format_json_lines(records: Iterable[Record]) -> str:
    """Return the records as JSON lines."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read_complete_records(file: Path) -> list[Record]:
    """Return the records of a file up to the first line that was not written whole."""
    records: list[Record] = []
    for line in file.read_bytes().split(b"\n") if file.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records
