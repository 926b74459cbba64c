"""Early stopping, and trainings that were finished when their process was interrupted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_NAME

from sparsead.errors import RecordError
from sparsead.training.history import best_epoch_end, epoch_ends, history
from sparsead.training.trainer import SparseadTrainer

log = logging.getLogger(__name__)


class AlreadyFinishedError(Exception):
    """A resumed training was already finished; it must not take another step."""


class EarlyStopping(TrainerCallback):
    """Ends a training after `patience` epochs in a row that were no better than the best one.

    Args:
        trainer: the trainer.
        patience: number of epochs (Prechelt, 1998); None never ends a training early.
    """

    def __init__(self, trainer: SparseadTrainer, patience: int | None) -> None:
        self._trainer = trainer
        self._patience = patience

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Refuse to go on with a training that was already finished.

        Raises:
            AlreadyFinishedError: it was; the Trainer's loop would take one more step.
        """
        within_epoch = 0 < state.max_steps <= state.global_step
        if state.global_step and (within_epoch or self._is_over()):
            raise AlreadyFinishedError

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """End the training at the checkpoint of an epoch, which its evaluation comes before."""
        if self._is_over():
            control.should_training_stop = True

    def _is_over(self) -> bool:
        if self._patience is None:
            return False
        ends = epoch_ends(self._trainer)
        return (
            bool(ends)
            and len(ends) - 1 - ends.index(best_epoch_end(self._trainer)) >= self._patience
        )


def restore_best(trainer: SparseadTrainer, folder: Path) -> tuple[Mapping[str, Any], float]:
    """Give the model the weights of the best epoch, and return its evaluation and that epoch.

    The evaluation is repeated, because the predictions of the last one are stored.

    Raises:
        RecordError: the checkpoint of that epoch is missing.
    """
    best, last = best_epoch_end(trainer), epoch_ends(trainer)[-1]
    if best.step != last.step:
        log.info("the weights of epoch %g, the best one, are kept", best.epoch)
        load_weights(trainer.model, folder, best.step)
        reached, trainer.state.epoch = trainer.state.epoch, best.epoch  # of which epoch it is told
        trainer.evaluate()
        trainer.state.epoch = reached
    evaluated = {row["epoch"]: row for row in history(trainer)}
    return evaluated[best.epoch], best.epoch


def load_weights(model: Any, folder: Path, step: int) -> None:
    """Load the trained parameters in the checkpoint of a step into the model.

    Raises:
        RecordError: the checkpoint is missing.
    """
    file = folder / f"{PREFIX_CHECKPOINT_DIR}-{step}" / SAFE_WEIGHTS_NAME
    if not file.is_file():
        raise RecordError(
            f"{file.parent}: the checkpoint of the best epoch is missing; delete {folder} to train "
            "from the start"
        )
    nn.Module.load_state_dict(model, load_file(file), strict=False)
