"""The scores that a run reports: of its last epoch, and of the splits kept for the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase, Trainer

from sparsead.training.generation import generate_splits

Scores = dict[str, float]


def final_scores(
    trainer: Trainer, data: DatasetDict, last: Mapping[str, float]
) -> dict[str, Scores]:
    """Score the splits that no epoch was evaluated on; call once, after training.

    Args:
        trainer: its model is trained.
        data: the encoded splits; those beside train and validation are scored.
        last: the scores of the last epoch, on validation.

    Returns:
        `scores`: those of validation, then those of the other splits as `SPLIT_METRIC`. Where
        there is a split `test`, `scores` begins with its scores, under their plain names, and
        those of validation are `selection`: what runs are chosen by.
    """
    others = {
        split: _scores(trainer, cast(Dataset, rows), split, last)
        for split, rows in data.items()
        if split not in ("train", "validation")
    }
    chosen_by = {"selection": dict(last)} if "test" in others else {}
    scores = dict(others.pop("test", last))
    return {"scores": _beside(scores, others), **chosen_by}


def generated_scores(
    trainer: Trainer,
    task: Any,
    data: DatasetDict,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    held_out: bool,
) -> dict[str, Scores]:
    """Score the texts generated for the task's `generated_splits`, kept in `folder`.

    Args:
        trainer: its model is trained.
        task: has `generation`.
        data: the encoded splits.
        tokenizer: the backbone's.
        folder: of the run.
        held_out: `validation` is a part of train to choose on, and `test` the task's own.

    Returns:
        `scores`: those of the first split, then those of the others as `SPLIT_METRIC`; with
        `held_out`, those of test, and those of validation are `selection`.
    """
    splits = ("test", "validation") if held_out else task.generated_splits
    scores = generate_splits(trainer, task, data, tokenizer, folder, splits)
    chosen_by = {"selection": scores.pop("validation")} if held_out else {}
    first = scores.pop(splits[0])
    return {"scores": _beside(first, scores), **chosen_by}


def _beside(scores: Scores, others: Mapping[str, Scores]) -> Scores:
    prefixed = ({f"{s}_{name}": v for name, v in values.items()} for s, values in others.items())
    return {name: value for part in (scores, *prefixed) for name, value in part.items()}


def _scores(trainer: Trainer, rows: Dataset, split: str, names: Iterable[str]) -> Scores:
    metrics = trainer.evaluate(rows, metric_key_prefix=split)
    return {name: metrics[f"{split}_{name}"] for name in names}
