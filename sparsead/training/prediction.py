"""Predictions on a split: converted to records, scored, and stored with the run."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from accelerate import PartialState
from datasets import Dataset
from transformers import EvalPrediction

from sparsead.config.values.tasks import check_score_name
from sparsead.errors import ConfigError
from sparsead.runs.files import write_atomically
from sparsead.runs.predictions import write_predictions
from sparsead.runs.record import known_direction, without_split
from sparsead.runs.result import SHARES, PredictionsFile, is_share
from sparsead.tasks.contract import (
    GeneratesText,
    PredictsRecords,
    Record,
    ScoresExamples,
    ScoresOutputs,
    StatesDirection,
    Task,
    TellsConstantOutputs,
)
from sparsead.tasks.metrics import is_constant, to_number

log = logging.getLogger(__name__)

_TRUTHS = ("label", "references", "reference")

Scorer = Callable[[EvalPrediction], dict[str, float]]

COLLAPSED = "collapsed"
"""Beside the scores of an evaluation: 1.0 if all predictions were the same, otherwise 0.0."""


def build_scorer(task: Task, rows: Dataset, file: Path) -> Scorer | None:
    """Return a function that scores an evaluation of the encoded rows.

    The predictions of each evaluation replace those of the one before it in `file`. The scores
    contain `COLLAPSED`.

    Returns:
        The function, or None if the task generates texts: only the loss is then computed.
    """
    if isinstance(task, GeneratesText):
        return None
    assert isinstance(task, ScoresOutputs | PredictsRecords)  # `check_scored` has made sure of it

    def score(output: EvalPrediction) -> dict[str, float]:
        records = task.predictions(output, rows)
        text = check_records(records)
        if isinstance(task, ScoresOutputs) and len(records) != len(rows):
            raise ConfigError(
                f"task: its method 'predictions' returned {len(records)} records for {len(rows)} "
                "examples"
            )
        if PartialState().is_main_process:
            write_atomically(file, text)
        scores = (
            task.scores(output) if isinstance(task, ScoresOutputs) else task.record_scores(records)
        )
        scores = check_scores(scores)
        if has_nan(output.predictions):  # a class can be chosen among them, but means nothing
            log.warning("%s not defined: outputs of the model are nan", ", ".join(scores))
            scores = dict.fromkeys(scores, math.nan)
        return scores | {COLLAPSED: float(have_collapsed(task, records))}

    return score


def has_nan(outputs: Any) -> bool:
    """Tell whether one of the model's outputs, an array or a tuple of arrays, is nan."""
    if isinstance(outputs, tuple):
        return any(map(has_nan, outputs))
    return bool(np.isnan(outputs).any())


def have_collapsed(task: Task | GeneratesText, records: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether all predictions are the same although the true values, if known, differ.

    A task may tell in its own way whether they are (`TellsConstantOutputs`).
    """
    truths = {
        json.dumps(next((r[key] for key in _TRUTHS if key in r), number), sort_keys=True)
        for number, r in enumerate(records)
    }
    if len(truths) < 2:
        return False
    if isinstance(task, TellsConstantOutputs):
        return task.outputs_are_constant(records)
    return is_constant([record["prediction"] for record in records])


def higher_is_better(task: Task, metric: str) -> bool:
    """Tell whether a higher main score is better; it is if neither task nor metric says so."""
    return _stated_directions(task, metric).get(metric, known_direction(metric) is not False)


def find_directions(
    task: Task, scores: Sequence[str], splits: Iterable[str]
) -> dict[str, Literal["higher", "lower"]]:
    """Return which values of each score are better, of those scores of which it is known.

    Args:
        task: the task, which states it of its main score or of each.
        scores: names of the recorded scores, the main one first.
        splits: the splits, whose names stand before the scores of all but the first.
    """
    main = scores[0]
    stated = _stated_directions(task, main) | {main: higher_is_better(task, main)}
    found: dict[str, Literal["higher", "lower"]] = {}
    for score in scores:
        metric = score if score in stated else without_split(score, splits)
        higher = stated.get(metric, known_direction(metric))
        if higher is not None:
            found[score] = "higher" if higher else "lower"
    return found


def _stated_directions(task: Task, main: str) -> dict[str, bool]:
    """Return whether a higher score is better, by its name, as far as the task states it.

    Raises:
        ConfigError: what the task states is neither true nor false.
    """
    if not isinstance(task, StatesDirection):
        return {}
    stated = task.higher_is_better
    found = dict(stated) if isinstance(stated, Mapping) else {main: stated}
    for name, direction in found.items():
        if not isinstance(direction, bool):
            raise ConfigError(
                f"task: its higher_is_better of {name} is {direction!r}; it must be True or False"
            )
    return found


def unfinished_predictions(folder: Path, split: str) -> Path:
    """Return the file of an unfinished run's predictions on a split, as JSON lines."""
    return folder / f"predictions-{split}.jsonl"


def store_predictions(
    task: Task, folder: Path, splits: Sequence[str], identity: str
) -> dict[str, PredictionsFile]:
    """Write what a run predicted in the form in which its record holds it.

    The JSON lines stay until `remove_unfinished_predictions`: a run that is killed before its
    record is written still needs them.

    Args:
        task: whose records they are.
        folder: of the run.
        splits: those that were evaluated; the run's scores are those of the first.
        identity: the run's.

    Returns:
        What `write_predictions` says about each split.
    """
    described: dict[str, PredictionsFile] = {}
    for split in splits:
        records = read_complete_records(unfinished_predictions(folder, split))
        if isinstance(task, ScoresExamples):
            _add_scores(records, task.example_scores(records))
        described[split] = write_predictions(folder, split, records, identity)
    return described


def _add_scores(records: Sequence[Record], scores: Mapping[str, Sequence[Any]]) -> None:
    """Add each metric's scores to the records of the examples."""
    for metric, values in scores.items():
        for record, value in zip(records, values, strict=True):
            record[metric] = value


def remove_unfinished_predictions(folder: Path) -> None:
    """Remove the JSON lines, which only an unfinished run needs."""
    for file in folder.glob(unfinished_predictions(folder, "*").name):
        file.unlink()


def format_json_lines(records: Iterable[Record]) -> str:
    """Return the records as JSON lines, each with a checksum behind a tab."""
    texts = (json.dumps(record, ensure_ascii=False) for record in records)
    return "".join(f"{text}\t{_checksum(text.encode())}\n" for text in texts)


def read_complete_records(file: Path) -> list[Record]:
    """Return the records of a file up to the first line that is not complete or was altered."""
    records: list[Record] = []
    for line in file.read_bytes().split(b"\n") if file.is_file() else []:
        text, _, checksum = line.rpartition(b"\t")
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            break
        if checksum.decode("utf-8", "replace") != _checksum(text) or not isinstance(record, dict):
            break
        records.append(record)
    return records


def _checksum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def check_records(records: Sequence[Record]) -> str:
    """Return a task's records as the run stores them while it trains: as JSON lines.

    What cannot be stored is refused after the first epoch at the latest.

    Raises:
        ConfigError: they are no list of mappings, a record lacks its id or its prediction, two have
            the same id, or a value is none of JSON or of another kind than in other records.
    """
    if not isinstance(records, Sequence) or not all(isinstance(r, Mapping) for r in records):
        raise ConfigError("task: its method 'predictions' must return a list of dictionaries")
    try:
        text = format_json_lines(records)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"task: a record that its method 'predictions' returns cannot be stored: {error}"
        ) from error
    _check_keys(records)
    return text


def _check_keys(records: Sequence[Record]) -> None:
    for key in dict.fromkeys(key for record in records for key in record if key != "id"):
        kinds = {_kind(record[key]) for record in records if record.get(key) is not None}
        if len(kinds) > 1:
            raise ConfigError(
                f"task: the records that its method 'predictions' returns have a '{key}' of "
                f"different kinds: {', '.join(sorted(kinds))}"
            )
    for key in ("id", "prediction"):
        if not all(key in record for record in records):
            raise ConfigError(
                f"task: a record that its method 'predictions' returns has no '{key}'"
            )
    ids = Counter(json.dumps(record["id"]) for record in records)
    if twice := [found for found, times in ids.items() if times > 1]:
        raise ConfigError(
            f"task: two records that its method 'predictions' returns have the id {twice[0]}"
        )


def _kind(value: Any) -> str:
    """Return the kind of a value in JSON; a truth value is a kind of its own."""
    if isinstance(value, bool):
        return "truth value"
    kinds = {int | float: "number", str: "text", list | tuple: "list"}
    return next((k for types, k in kinds.items() if isinstance(value, types)), "mapping")


def check_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return a task's scores as numbers.

    Raises:
        ConfigError: there are none, one is no number, its name cannot be printed, or it has the
            name of a score that is a share, and is none.
    """
    if not isinstance(scores, Mapping):
        raise ConfigError(f"task: its scores are {reprlib.repr(scores)}, not numbers by name")
    if not scores:
        raise ConfigError("task: its scores are empty; it needs at least one")
    numbers = {}
    for name, value in scores.items():
        check_score_name("task", name)
        numbers[name] = to_number(f"task: its score {name} is", value)
        if name in SHARES and not is_share(numbers[name]):
            raise ConfigError(
                f"task: its score {name} is {numbers[name]:g}; {name} is a share, so that it must "
                "be between -1 and 1"
            )
    return numbers
