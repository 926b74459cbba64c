"""Stopping a training behind a checkpoint, so that it goes on to the same bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_NAME

from sparsead.errors import TrainingStopped
from sparsead.runs.interrupt import Watch
from sparsead.training.trainer import SparseadTrainer, history


class Stopping(TrainerCallback):
    """Ends the training on Ctrl-C behind the step that it is at, or where `watch` says so.

    Args:
        trainer: whose training it is.
        interrupted: tells whether there was a Ctrl-C.
        watch: is asked behind every epoch, and before the first one of a training that goes on.
    """

    def __init__(
        self, trainer: SparseadTrainer, interrupted: Callable[[], bool], watch: Watch | None
    ) -> None:
        self._trainer = trainer
        self._interrupted = interrupted
        self._watch = watch

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Take up the loss of an epoch that was left in its middle."""
        if state.global_step:
            name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            with safe_open(Path(str(args.output_dir)) / name / SAFE_WEIGHTS_NAME, "pt") as file:
                self._trainer.restore_running_loss(file.metadata() or {})
            self._ask()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a checkpoint, if there was a Ctrl-C.

        Not behind an epoch's last step: there comes one anyway, after the epoch's evaluation, which
        a training that went on from an earlier one would leave out.
        """
        inside = not float(state.epoch or 0).is_integer()
        control.should_save = control.should_save or (self._interrupted() and inside)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Leave, now that nothing is lost."""
        if self._interrupted():
            raise KeyboardInterrupt
        self._ask()

    def _ask(self) -> None:
        if self._watch is None:
            return
        epochs = [self._quality(each) for each in history(self._trainer) if "scores" in each]
        if epochs and self._watch(epochs):
            raise TrainingStopped(f"stopped after epoch {len(epochs)}")

    def _quality(self, epoch: Mapping[str, Any]) -> float:
        """Return the epoch's main score, or its loss where it has none, so that more is better."""
        if not epoch["scores"]:
            return -float(epoch["validation_loss"])
        name, score = next(iter(epoch["scores"].items()))
        return float(score) if self._trainer.higher_is_better(name) else -float(score)
