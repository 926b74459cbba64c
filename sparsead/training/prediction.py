"""Predictions on a split: converted to records, scored, and stored with the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset
from transformers import EvalPrediction

from sparsead.runs.record import higher_is_better as higher_is_better_by_name
from sparsead.tasks.contract import (
    DecodesOutputs,
    GeneratesText,
    PredictsRecords,
    Record,
    ScoresOutputs,
    StatesDirection,
    Task,
)
from sparsead.tasks.metrics import is_constant

Scorer = Callable[[EvalPrediction], dict[str, float]]

COLLAPSED = "collapsed"
"""Beside the scores of an evaluation: 1.0 if all predictions were the same, otherwise 0.0."""


def build_scorer(task: Task, rows: Dataset, file: Path) -> Scorer | None:
    """Return a function that scores an evaluation of the encoded rows.

    If the task makes records, each evaluation replaces those of the one before it in `file`.
    If the task says what it predicts, the scores contain `COLLAPSED`.

    Returns:
        The function, or None if the task generates texts: only the loss is then computed.
    """
    if isinstance(task, GeneratesText):
        return None
    if not isinstance(task, PredictsRecords):
        assert isinstance(task, ScoresOutputs)  # `check_scored` has made sure of it
        return partial(_score_outputs, task, rows)

    def score_records(output: EvalPrediction) -> dict[str, float]:
        records = task.predictions(output, rows)
        if PartialState().is_main_process:
            file.write_text(format_json_lines(records), "utf-8")
        return task.record_scores(records) | {COLLAPSED: float(have_collapsed(records))}

    return score_records


def _score_outputs(task: ScoresOutputs, rows: Dataset, output: EvalPrediction) -> dict[str, float]:
    scores = task.scores(output)
    if not isinstance(task, DecodesOutputs) or is_constant(output.label_ids):
        return scores
    return scores | {COLLAPSED: float(have_collapsed(task.decoded(output, rows)))}


def have_collapsed(records: Sequence[Record]) -> bool:
    """Tell whether all predictions are the same although the references, if known, differ."""
    truths = {
        json.dumps(r.get("references", r.get("reference", number)), sort_keys=True)
        for number, r in enumerate(records)
    }
    return len(truths) > 1 and is_constant([record["prediction"] for record in records])


def higher_is_better(task: Task, metric: str) -> bool:
    """Tell whether a higher main metric is better: as the task states, or else by its name."""
    if isinstance(task, StatesDirection):
        return task.higher_is_better
    return higher_is_better_by_name(metric)


def predictions_file(folder: Path, split: str) -> Path:
    """Return the file of a run's predictions on a split, as JSON lines."""
    return folder / f"predictions-{split}.jsonl"


def format_json_lines(records: Iterable[Record]) -> str:
    """Return the records as JSON lines."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read_complete_records(file: Path) -> list[Record]:
    """Return the records of a file up to the first line that is not complete."""
    records: list[Record] = []
    for line in file.read_bytes().split(b"\n") if file.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records
