"""What the evaluations of a training found, from the Trainer's log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparsead.training.prediction import COLLAPSED

if TYPE_CHECKING:
    from sparsead.training.trainer import SparseadTrainer


def history(trainer: SparseadTrainer) -> list[dict[str, Any]]:
    """Return for each evaluation the scores, the validation loss and whether it had collapsed.

    `epoch` says when it was, `train_loss` is the mean over the steps since the one before, and
    `collapsed` says that all predictions were the same.
    """
    epochs: dict[float, dict[str, Any]] = {}
    for entry in trainer.state.log_history:
        row = epochs.setdefault(entry["epoch"], {"epoch": entry["epoch"]})
        if "loss" in entry:
            row["train_loss"] = entry["loss"]
        if "eval_loss" in entry:
            row |= {"validation_loss": entry["eval_loss"], "scores": scores_of(entry)}
            row.pop(COLLAPSED, None)  # of an earlier evaluation of the same epoch
            row |= {COLLAPSED: True} if entry.get(f"eval_{COLLAPSED}") else {}
    return list(epochs.values())


@dataclass(frozen=True)
class EpochEnd:
    """An evaluation at the end of an epoch: after which step, and how good the model was then."""

    step: int
    epoch: float
    quality: float

    @property
    def rank(self) -> float:
        """The quality for comparisons: one that is not defined is the lowest."""
        return -math.inf if math.isnan(self.quality) else self.quality


def epoch_ends(trainer: SparseadTrainer) -> list[EpochEnd]:
    """Return the evaluations at the ends of epochs so far; the last epoch may be cut short."""
    last = trainer.state.max_steps
    return [
        EpochEnd(int(entry["step"]), entry["epoch"], quality_of(trainer, entry))
        for entry in trainer.state.log_history
        if "eval_loss" in entry and entry["epoch"] > 0
        if float(entry["epoch"]).is_integer() or entry["step"] == last
    ]


def best_epoch_end(trainer: SparseadTrainer) -> EpochEnd:
    """Return the evaluation of the best epoch so far; of equal ones it is the first."""
    return max(epoch_ends(trainer), key=lambda end: end.rank)


def quality_of(trainer: SparseadTrainer, entry: Mapping[str, float]) -> float:
    """Return an evaluation's main score, or its loss where it has none, so that more is better.

    It is nan if the score is not defined.
    """
    for name, score in scores_of(entry).items():
        return float(score) if trainer.higher_is_better(name) else -float(score)
    return -float(entry["eval_loss"])


def scores_of(entry: Mapping[str, float]) -> dict[str, float]:
    """Return the scores that an evaluation logged, the main one first, without loss and times."""
    scores = {key.removeprefix("eval_"): value for key, value in entry.items() if "eval_" in key}
    return {name: value for name, value in scores.items() if name not in _NOT_SCORES}


_NOT_SCORES = (
    COLLAPSED,
    "loss",
    "runtime",
    "samples_per_second",
    "steps_per_second",
    "model_preparation_time",
)
