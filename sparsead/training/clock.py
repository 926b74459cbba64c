"""How long each phase of a run takes, over all the processes that were at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sparsead.training.resume import read_seconds, save_seconds

_PHASES = ("load", "prune", "train", "evaluate", "trainer", "report")


class Clock(TrainerCallback):
    """Times the phases of a run, and adds what the processes before took that were interrupted.

    The sums are kept with each checkpoint; what a killed process did after its last one is lost
    from them as it is from the run.

    Args:
        folder: of the run, where the checkpoints are.
        resumed_from: the epoch that the run goes on from; 0 where it begins.
    """

    def __init__(self, folder: Path, resumed_from: float) -> None:
        self._folder = folder
        self._resumed_from = resumed_from
        self._earlier = read_seconds(folder) if resumed_from else {}
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._epoch_began: float | None = None
        self._steps = 0.0

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Time the block; of the phase `train` only its steps, batches included, are called so.

        The evaluations in it are `evaluate`; its other part, the Trainer's start and its
        checkpoints, is `trainer`.
        """
        self._began[phase] = perf_counter()
        yield
        self._ended[phase] = perf_counter()

    def on_epoch_begin(self, *_args: Any, **_kwargs: Any) -> None:
        """Time the steps from here on."""
        self._epoch_began = perf_counter()

    def on_log(self, *_args: Any, **_kwargs: Any) -> None:
        """Take the epoch's steps as done where its loss is read: a GPU has done them only then."""
        if self._epoch_began is not None:
            self._steps += perf_counter() - self._epoch_began
            self._epoch_began = None

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Keep the sums for a process that goes on from this checkpoint."""
        save_seconds(self._folder, self.seconds(state))

    def seconds(self, state: TrainerState) -> dict[str, float]:
        """Return the seconds of each phase so far, over all processes."""
        now = perf_counter()
        own = {phase: self._ended.get(phase, now) - began for phase, began in self._began.items()}
        evaluated = _evaluation_seconds(state, self._resumed_from)
        steps = self._steps
        if self._epoch_began is not None:  # left in the middle of an epoch
            steps += now - self._epoch_began
        trainer = own["train"] - steps - evaluated
        own |= {"train": steps, "evaluate": evaluated, "trainer": trainer}
        return {phase: own.get(phase, 0.0) + self._earlier.get(phase, 0.0) for phase in _PHASES}


def _evaluation_seconds(state: TrainerState, after: float) -> float:
    """Return the seconds that the evaluations of the epochs after `after` took together."""
    entries = [entry for entry in state.log_history if entry["epoch"] > after]
    return float(sum(entry.get("eval_runtime", 0.0) for entry in entries))
