"""Says what a training does and about how long it takes, as soon as its first steps are timed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sparsead.config.run import RunSpec
from sparsead.progress import format_seconds
from sparsead.tasks.contract import GeneratesText, Task

log = logging.getLogger(__name__)

_LEAST_SECONDS, _MOST_STEPS = 1.0, 5
"""Steps are timed for at least so many seconds, but for at most so many steps."""
_EVALUATED = 0.45
"""An evaluated example takes about this share of a trained one's time in recorded runs of adapters.

A training step has a backward pass as well, which costs about as much as a forward pass, because no
gradient of the frozen weights is computed."""


class TellDuration(TrainerCallback):
    """Prints one line on the examples, the steps, the device, and the time that all will take.

    Args:
        spec: the run.
        task: its task.
        data: description of each split, as `Inputs.described` has it.
        device: the device and the precision, such as "cpu in bf16".
    """

    def __init__(self, spec: RunSpec, task: Task, data: Mapping[str, Any], device: str) -> None:
        self._data = f"{_describe_examples(data['train'])} at {spec.task.max_length} tokens"
        self._device = device
        self._generates = isinstance(task, GeneratesText)
        self._evaluated = 0.0 if self._generates else _evaluated_steps(spec, data)
        self._told = False
        self._began: float | None = None
        self._steps = 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Time the steps after the first one, which is slower than the others."""
        if self._told:
            return
        if self._began is None:
            self._began = _now()
            return
        self._steps += 1
        if self._steps == _MOST_STEPS or time.monotonic() - self._began >= _LEAST_SECONDS:
            self._tell(state)

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Tell what is known before the first evaluation after a step."""
        if self._began is not None:
            self._tell(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Tell what is known of a training that was too short to be timed."""
        self._tell(state)

    def _tell(self, state: TrainerState) -> None:
        if self._told:
            return
        self._told = True
        steps = f"{state.max_steps:,} step{'' if state.max_steps == 1 else 's'}"
        about = ""
        if self._began is not None and self._steps:
            seconds = (_now() - self._began) / self._steps
            left = state.max_steps - state.global_step
            about = f", about {format_seconds(max(1, seconds * left * (1 + self._evaluated)))}"
            about += " and the texts to generate" if self._generates else ""
        log.info("%s; %s on %s%s", self._data, steps, self._device, about)


def _now() -> float:
    """Return the time at which the steps before are computed: a GPU may be behind the CPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def _describe_examples(split: Mapping[str, Any]) -> str:
    """Return how many examples there are, and how many are cut or left out."""
    counts = split["counts"].items()
    lost = [f"{count:,} {name.replace('_', ' ')}" for name, count in counts if count]
    return f"{split['examples']:,} examples, {', '.join(lost) or 'none cut'}"


def _evaluated_steps(spec: RunSpec, data: Mapping[str, Any]) -> float:
    """Return what the evaluations take, as a share of the steps."""
    trained, evaluated = (data[split]["examples"] for split in ("train", "validation"))
    per_epoch = spec.protocol.evaluations_per_epoch(trained)
    return float(_EVALUATED * per_epoch * evaluated / trained)
