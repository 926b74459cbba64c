"""The scores that a run reports: of its last epoch, and of the splits kept for the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from datasets import Dataset, DatasetDict
from transformers import Trainer


def final_scores(
    trainer: Trainer, data: DatasetDict, last: Mapping[str, float]
) -> dict[str, dict[str, float]]:
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
    for split, values in others.items():
        scores |= {f"{split}_{name}": value for name, value in values.items()}
    return {"scores": scores, **chosen_by}


def _scores(
    trainer: Trainer, rows: Dataset, split: str, names: Mapping[str, float]
) -> dict[str, float]:
    metrics = trainer.evaluate(rows, metric_key_prefix=split)
    return {name: metrics[f"{split}_{name}"] for name in names}
