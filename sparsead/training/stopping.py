"""Stopping a training after a checkpoint, so that resuming it gives bitwise equal results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_NAME

from sparsead.errors import TrainingStopped
from sparsead.runs.interrupt import Watch
from sparsead.training.history import epoch_ends
from sparsead.training.resume import readable
from sparsead.training.trainer import SparseadTrainer


class Stopping(TrainerCallback):
    """Stops the training after the current step on Ctrl-C, or when `watch` returns true.

    Args:
        trainer: the trainer to stop.
        interrupted: tells whether Ctrl-C was pressed.
        watch: is called after every epoch, and once when a training resumes.
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
        """Restore the running loss of an epoch that was interrupted."""
        if state.global_step:
            checkpoint = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            with (
                readable(str(checkpoint)),
                safe_open(checkpoint / SAFE_WEIGHTS_NAME, "pt") as file,
            ):
                self._trainer.restore_running_loss(file.metadata() or {})
            self._ask()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Request a checkpoint if Ctrl-C was pressed.

        The last step of an epoch or of the training is skipped: the save at the epoch's end follows
        the evaluation, and a checkpoint before it would make the resumed training leave that
        evaluation out.
        """
        inside = not float(state.epoch or 0).is_integer() and state.global_step < state.max_steps
        control.should_save = control.should_save or (self._interrupted() and inside)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop if asked to, now that the checkpoint is saved."""
        if self._interrupted():
            raise KeyboardInterrupt
        self._ask()

    def _ask(self) -> None:
        if self._watch is None:
            return
        epochs = [end.quality for end in epoch_ends(self._trainer)]
        if epochs and self._watch(epochs):
            raise TrainingStopped(f"stopped after epoch {len(epochs)}")
