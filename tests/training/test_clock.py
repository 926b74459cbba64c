"""The seconds of a resumed run: every second is counted once."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import TrainerState

from sparsead.training.clock import Clock
from sparsead.training.resume import save_seconds


def test_evaluations_before_the_checkpoint_are_in_the_sums_already(tmp_path: Path) -> None:
    save_seconds(tmp_path, {"train": 100.0, "evaluate": 40.0})
    evaluations = [{"epoch": 1.0, "eval_runtime": 40.0}, {"epoch": 2.0, "eval_runtime": 3.0}]
    clock = Clock(tmp_path, resumed_from=1.0)
    with clock.timed("train"):
        pass
    seconds = clock.seconds(TrainerState(log_history=evaluations))
    assert (seconds["train"], seconds["evaluate"]) == (100, 43)


def test_what_lies_there_of_another_attempt_does_not_count_for_a_run_that_begins(
    tmp_path: Path,
) -> None:
    save_seconds(tmp_path, {"train": 100.0})
    clock = Clock(tmp_path, resumed_from=0)
    with clock.timed("train"):
        pass
    assert clock.seconds(TrainerState())["train"] < 100


def test_only_steps_count_as_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer starts for 1 s, does 5 s of steps, evaluates 2 s, and writes for 4 s."""
    now = iter([0.0, 1.0, 6.0, 12.0, 12.0])
    monkeypatch.setattr("sparsead.training.clock.perf_counter", lambda: next(now))
    clock = Clock(tmp_path, resumed_from=0)
    with clock.timed("train"):
        clock.on_epoch_begin()
        clock.on_log()
        clock.on_log()  # of the evaluation
    seconds = clock.seconds(TrainerState(log_history=[{"epoch": 1.0, "eval_runtime": 2.0}]))
    assert (seconds["train"], seconds["evaluate"], seconds["trainer"]) == (5, 2, 5)
