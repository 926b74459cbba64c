"""The seconds of a resumed run: every second is counted once."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from sparsead.training.clock import Clock
from sparsead.training.resume import save_seconds


def end_evaluation(clock: Clock, seconds: float) -> None:
    """Tell the clock of an evaluation at the end of an epoch, as the Trainer does."""
    state, control = TrainerState(epoch=1.0), TrainerControl()
    clock.on_evaluate(TrainingArguments(), state, control, metrics={"eval_runtime": seconds})


def test_evaluations_before_the_checkpoint_are_in_the_sums_already(tmp_path: Path) -> None:
    save_seconds(tmp_path, {"train": 100.0, "evaluate": 40.0})
    clock = Clock(tmp_path, resumed_from=1.0)
    with clock.timed("train"):
        end_evaluation(clock, 3.0)
    seconds = clock.seconds()
    assert (seconds["train"], seconds["evaluate"]) == (100, 43)


def test_what_lies_there_of_another_attempt_does_not_count_for_a_run_that_begins(
    tmp_path: Path,
) -> None:
    save_seconds(tmp_path, {"train": 100.0})
    clock = Clock(tmp_path, resumed_from=0)
    with clock.timed("train"):
        pass
    assert clock.seconds()["train"] < 100


def test_only_steps_count_as_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer starts for 1 s, does 5 s of steps, evaluates 2 s, and writes for 4 s."""
    now = iter([0.0, 1.0, 6.0, 12.0, 12.0])
    monkeypatch.setattr("sparsead.training.clock.perf_counter", lambda: next(now))
    clock = Clock(tmp_path, resumed_from=0)
    with clock.timed("train"):
        clock.on_epoch_begin()
        clock.on_log()
        clock.on_log()  # of the evaluation
        end_evaluation(clock, 2.0)
    seconds = clock.seconds()
    assert (seconds["train"], seconds["evaluate"], seconds["trainer"]) == (5, 2, 5)


def test_an_evaluation_after_the_training_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best epoch is evaluated again for 9 s, longer than the trainer's own work of 1 s."""
    now = iter([0.0, 1.0, 6.0, 8.0, 8.0, 17.0, 17.0])
    monkeypatch.setattr("sparsead.training.clock.perf_counter", lambda: next(now))
    clock = Clock(tmp_path, resumed_from=0)
    with clock.timed("train"):
        clock.on_epoch_begin()
        clock.on_log()
        end_evaluation(clock, 2.0)
    with clock.timed("report"):
        end_evaluation(clock, 9.0)
    seconds = clock.seconds()
    assert (seconds["train"], seconds["evaluate"], seconds["trainer"]) == (5, 2, 1)
    assert seconds["report"] == 9
