"""The line that says how long a training takes, from the time of its first steps."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from composing import compose
from sparsead.assembly.build import build_task
from sparsead.training.duration import TellDuration

DATA: dict[str, Any] = {
    "train": {"examples": 1000, "counts": {"cut": 20}},
    "validation": {"examples": 500, "counts": {}},
}
EXAMPLES = "1,000 examples, 20 cut at 512 tokens"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def train(
    clock: list[float], steps: int, seconds: float, *, first: int = 0, task: str = "demo_mrpc"
) -> None:
    """Train so many of 100 steps, the first of which takes ten times as long."""
    spec = compose("backbone=tiny-bart", f"task={task}", "protocol.epochs=2")
    told = TellDuration(spec, build_task(spec), DATA, "cpu in bf16")
    state, control, arguments = TrainerState(), TrainerControl(), TrainingArguments(use_cpu=True)
    state.max_steps, state.global_step = 100, first
    for step in range(steps):
        clock[0] += seconds * (10 if step == 0 else 1)
        state.global_step += 1
        told.on_step_end(arguments, state, control)
    told.on_prediction_step(arguments, state, control)
    told.on_train_end(arguments, state, control)


@pytest.mark.parametrize(
    ("steps", "seconds", "options", "said"),
    [
        # after two steps of 2 s: 98 more, and 2 evaluations of 500 for 2 epochs of 1,000 examples
        (9, 2.0, {}, ", about 4 min"),  # 98 * 2 * 1.225 = 240 s
        (9, 0.1, {}, ", about 12 s"),  # 94 * 0.1 * 1.225, after six steps
        (9, 2.0, {"first": 88}, ", about 24 s"),  # 10 * 2 * 1.225: of the steps that are left
        (9, 2.0, {"task": "demo_xsum"}, ", about 3 min and the texts to generate"),
        (1, 2.0, {}, ""),
    ],
)
def test_it_is_estimated_from_the_first_steps_but_one(
    clock: list[float],
    caplog: pytest.LogCaptureFixture,
    steps: int,
    seconds: float,
    options: dict[str, Any],
    said: str,
) -> None:
    caplog.set_level(logging.INFO)
    train(clock, steps, seconds, **options)
    lines = [record.message for record in caplog.records if "examples" in record.message]
    assert lines == [f"{EXAMPLES}; 100 steps on cpu in bf16{said}"]
