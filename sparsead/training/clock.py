"""The seconds of each phase of a run, summed over the processes that worked on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sparsead.training.resume import read_seconds, save_seconds

_PHASES = ("load", "prune", "train", "evaluate", "trainer", "report")
"""The phases in the order of the record; `report` is the time of the final scores."""


class Clock(TrainerCallback):
    """Times the phases of a run, and adds the times of earlier, interrupted processes.

    The sums are saved with each checkpoint. The time that a killed process spent after its last
    checkpoint is not counted, because that work is done again.

    Args:
        folder: the run's folder, where the checkpoints are.
        resumed_from: the epoch from which the run resumes; 0 if it starts from the beginning.
    """

    def __init__(self, folder: Path, resumed_from: float) -> None:
        self._folder = folder
        self._earlier = read_seconds(folder) if resumed_from else {}
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._steps_began: float | None = None
        self._steps = 0.0
        self._evaluated = 0.0
        self._evaluation_began: float | None = None

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Time the block as `phase`.

        The block `train` is reported in three parts: `train` is the time of the steps, data loading
        included, `evaluate` that of the evaluations, and `trainer` the rest, such as the Trainer's
        start and its checkpoints.
        """
        self._began[phase] = perf_counter()
        yield
        self._ended[phase] = perf_counter()

    def on_epoch_begin(self, *_args: Any, **_kwargs: Any) -> None:
        """Start timing the steps of an epoch."""
        self._steps_began = perf_counter()

    def on_log(self, *_args: Any, **_kwargs: Any) -> None:
        """Stop timing the steps when their loss is read: only then has a GPU finished."""
        if self._steps_began is not None:
            self._steps += perf_counter() - self._steps_began
            self._steps_began = None

    def begin_evaluation(self) -> None:
        """Start timing an evaluation.

        The Trainer's own `eval_runtime` comes from the system's clock, which may be set meanwhile.
        """
        self._evaluation_began = perf_counter()

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Add an evaluation of the training, and time the steps again if it is within an epoch."""
        if "train" in self._ended or self._evaluation_began is None:
            return  # the best epoch's is repeated for the final scores
        now = perf_counter()
        self._evaluated += now - self._evaluation_began
        self._evaluation_began = None
        if not float(state.epoch or 0).is_integer() and state.global_step < state.max_steps:
            self._steps_began = now

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save the sums for a process that resumes from this checkpoint."""
        save_seconds(self._folder, self.seconds())

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase so far, over all processes."""
        now = perf_counter()
        own = {phase: self._ended.get(phase, now) - began for phase, began in self._began.items()}
        steps = self._steps
        if self._steps_began is not None:  # training stopped in the middle of an epoch
            steps += now - self._steps_began
        trainer = max(0.0, own["train"] - steps - self._evaluated)  # 0 but for rounding
        own |= {"train": steps, "evaluate": self._evaluated, "trainer": trainer}
        return {phase: own.get(phase, 0.0) + self._earlier.get(phase, 0.0) for phase in _PHASES}
