"""Shows a training's steps and evaluations, with the loss, the last score and the time left."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sparsead.progress import Stage, stage
from sparsead.training.history import scores_of

if TYPE_CHECKING:
    from sparsead.training.trainer import SparseadTrainer

log = logging.getLogger(__name__)

_LOSS_SECONDS = 2.0
"""The loss is read at most this often: reading it makes the CPU wait for a GPU."""


class ShowTraining(TrainerCallback):
    """Keeps the stage of a training up to date.

    Args:
        trainer: the trainer.
        shown: the stage, entered by the caller, who also leaves it.
    """

    def __init__(self, trainer: SparseadTrainer, shown: Stage) -> None:
        self._trainer = trainer
        self._shown = shown
        self._loss = self._score = ""
        self._read = time.monotonic()
        self._evaluation = ExitStack()
        self._evaluated: Stage | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Say how many steps there are, and at which one a resumed training goes on."""
        self._shown.total = state.max_steps
        self._name_epoch(args, state)
        if state.global_step:
            self._shown.start_at(state.global_step)
            log.info("going on from step %d of %d", state.global_step, state.max_steps)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Show the step, and from time to time the mean loss since the last evaluation."""
        now = time.monotonic()
        if now - self._read >= _LOSS_SECONDS:
            self._read = now
            loss = self._trainer.running_loss()
            self._loss = "" if loss is None else f"loss {loss:.3f}"
            self._describe()
        self._name_epoch(args, state)
        self._shown.advance()

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **_: Any,
    ) -> None:
        """Show an evaluation's batches."""
        if self._evaluated is None:
            batches = stage("evaluating", len(eval_dataloader))
            self._evaluated = self._evaluation.enter_context(batches)
        self._evaluated.advance()

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Show the main score of the evaluation that has ended."""
        self._leave()
        scores = scores_of(metrics or {})
        name, score = next(iter(scores.items()), ("", None))
        self._score = "" if score is None else f"{name} {100 * score:z.2f}"
        self._describe()

    def on_predict(self, *_args: Any, **_kwargs: Any) -> None:
        """End the stage of an evaluation without scores."""
        self._leave()

    def _leave(self) -> None:
        self._evaluation.close()
        self._evaluated = None

    def _describe(self) -> None:
        self._shown.note = ", ".join(filter(None, (self._loss, self._score)))

    def _name_epoch(self, args: TrainingArguments, state: TrainerState) -> None:
        epochs = round(args.num_train_epochs)
        epoch = min(int(state.epoch or 0) + 1, epochs)
        self._shown.label = f"epoch {epoch} of {epochs}"
