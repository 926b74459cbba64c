"""The scores in a run's record: of the last epoch, or of the best one, and of all other splits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from sparsead.tasks.contract import GeneratesText, Task
from sparsead.training.generation import TextGenerator, generate_splits
from sparsead.training.prediction import (
    COLLAPSED,
    have_collapsed,
    read_complete_records,
    unfinished_predictions,
)

Scores = dict[str, float]


def evaluated_splits(task: Task, data: DatasetDict, held_out: bool) -> list[str]:
    """Return the splits that are evaluated; the run's scores are those of the first.

    Args:
        task: the task.
        data: the encoded splits.
        held_out: whether `validation` is a held-out share of train, and `test` the task's own
            validation split.
    """
    first = "test" if held_out else "validation"
    if isinstance(task, GeneratesText):
        asked = [first if split == "validation" else split for split in task.generated_splits]
        return [*asked, "validation"] if held_out else asked
    return [first, *(split for split in data if split not in ("train", first))]


def final_scores(
    trainer: Trainer,
    task: Task,
    data: DatasetDict,
    folder: Path,
    last: Mapping[str, Any],
    held_out: bool,
) -> dict[str, Any]:
    """Score the splits that were not evaluated after each epoch. It is called once, after training.

    Args:
        trainer: the trainer, with the trained model.
        task: the task, which computes the scores.
        data: the encoded splits; all but train and validation are scored.
        folder: the run's folder, where generated texts are stored.
        last: the evaluation of the last epoch, or of the best one if the protocol has a patience,
            with the scores on validation.
        held_out: whether `validation` is a held-out share of train, for choosing between runs, and
            `test` is the task's own validation split.

    Returns:
        `scores`: the scores of validation, or of the first of the task's `generated_splits`,
        followed by those of the other splits, named `SPLIT_METRIC`. If `held_out`, the first ones
        are those of test instead, and `selection` has those of validation. `collapsed` tells
        whether all predictions of the split that `scores` begins with were the same.
    """
    splits = evaluated_splits(task, data, held_out)
    if isinstance(task, GeneratesText):
        return _generated_scores(trainer, task, data, folder, last, splits, held_out)
    names = (*last["scores"], COLLAPSED)
    others = {
        split: _scores(trainer, cast(Dataset, data[split]), split, names)
        for split in splits
        if split != "validation"
    }
    found = {split: bool(scores.pop(COLLAPSED, False)) for split, scores in others.items()}
    chosen_by = {"selection": dict(last["scores"])} if held_out else {}
    scores = dict(others.pop("test") if held_out else last["scores"])
    collapsed = found["test"] if held_out else last.get(COLLAPSED, False)
    return {"scores": _beside(scores, others), **chosen_by, COLLAPSED: collapsed}


def _generated_scores(
    trainer: Trainer,
    task: GeneratesText,
    data: DatasetDict,
    folder: Path,
    last: Mapping[str, Any],
    splits: Sequence[str],
    held_out: bool,
) -> dict[str, Any]:
    generator = TextGenerator(
        model=cast(PreTrainedModel, trainer.model),
        task=task,
        tokenizer=cast(PreTrainedTokenizerBase, trainer.processing_class),
        collator=trainer.data_collator,
        batch_size=trainer.args.eval_batch_size,
        precision="bf16" if trainer.args.bf16 else "fp32",
    )
    # The loss is that of the model's outputs, which the generation does not return.
    scores = generate_splits(generator, data, folder, splits, math.isnan(last["validation_loss"]))
    chosen_by = {"selection": scores.pop("validation")} if held_out else {}
    first = scores.pop(splits[0])
    records = read_complete_records(unfinished_predictions(folder, splits[0]))
    collapsed = have_collapsed(task, records)
    return {"scores": _beside(first, scores), **chosen_by, COLLAPSED: collapsed}


def _beside(scores: Scores, others: Mapping[str, Scores]) -> Scores:
    prefixed = ({f"{s}_{name}": v for name, v in values.items()} for s, values in others.items())
    return {name: value for part in (scores, *prefixed) for name, value in part.items()}


def _scores(trainer: Trainer, rows: Dataset, split: str, names: Iterable[str]) -> Scores:
    metrics = trainer.evaluate(rows, metric_key_prefix=split)
    return {name: metrics[f"{split}_{name}"] for name in names if f"{split}_{name}" in metrics}
