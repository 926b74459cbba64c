"""The seconds of a resumed run: every second is counted once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from composing import ask_for
from sparsead.train import train
from sparsead.training.clock import Clock
from sparsead.training.resume import save_seconds


@pytest.fixture
def set_times(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set what the clock reads, one time after another."""

    def set_them(*times: float) -> None:
        following = iter(times)
        monkeypatch.setattr("sparsead.training.clock.perf_counter", lambda: next(following))

    return set_them


def evaluate(clock: Clock) -> None:
    """Tell the clock of an evaluation at the end of an epoch, as the Trainer does.

    The system's clock, by which the Trainer measures, is set forward by a day meanwhile.
    """
    state, control = TrainerState(epoch=1.0), TrainerControl()
    clock.begin_evaluation()
    clock.on_log()
    clock.on_evaluate(TrainingArguments(), state, control, metrics={"eval_runtime": 86400.0})


def test_evaluations_before_the_checkpoint_are_in_the_sums_already(
    tmp_path: Path, set_times: Callable[..., None]
) -> None:
    save_seconds(tmp_path, {"train": 100.0, "evaluate": 40.0})
    clock = Clock(tmp_path, resumed_from=1.0)
    set_times(0.0, 1.0, 4.0, 5.0, 5.0)
    with clock.timed("train"):
        evaluate(clock)
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


def test_only_steps_count_as_training(tmp_path: Path, set_times: Callable[..., None]) -> None:
    """The trainer starts for 1 s, does 5 s of steps, evaluates 2 s, and writes for 4 s."""
    set_times(0.0, 1.0, 6.0, 6.0, 8.0, 12.0, 12.0)
    clock = Clock(tmp_path, resumed_from=0)
    with clock.timed("train"):
        clock.on_epoch_begin()
        clock.on_log()
        evaluate(clock)
    seconds = clock.seconds()
    assert (seconds["train"], seconds["evaluate"], seconds["trainer"]) == (5, 2, 5)


def test_an_evaluation_after_the_training_is_no_part_of_it(
    tmp_path: Path, set_times: Callable[..., None]
) -> None:
    """The best epoch is evaluated again for 9 s, longer than the trainer's own work of 1 s."""
    set_times(0.0, 1.0, 6.0, 6.0, 8.0, 8.0, 8.0, 8.0, 17.0, 17.0)
    clock = Clock(tmp_path, resumed_from=0)
    with clock.timed("train"):
        clock.on_epoch_begin()
        clock.on_log()
        evaluate(clock)
    with clock.timed("report"):
        evaluate(clock)
    seconds = clock.seconds()
    assert (seconds["train"], seconds["evaluate"], seconds["trainer"]) == (5, 2, 1)
    assert seconds["report"] == 9


@pytest.mark.slow
def test_a_system_clock_that_is_set_during_a_run_changes_no_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = SimpleNamespace(time=lambda: time.time() + 86400)  # where the Trainer's speeds end
    monkeypatch.setattr("transformers.trainer_utils.time", ahead)
    words = ("backbone=tiny-bert", "task.limit=8", "protocol.epochs=1", "device=cpu")
    record = train(ask_for(*words, f"outputs={tmp_path}"))
    assert 0 < record.result["seconds"]["evaluate"] < 86400
    assert record.result["seconds"]["trainer"] >= 0
