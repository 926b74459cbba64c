"""The seconds of a run that went on from a checkpoint: each of them once."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import TrainerState

from sparsead.training.clock import Clock
from sparsead.training.resume import keep_seconds


def test_evaluations_before_the_checkpoint_are_in_the_sums_already(tmp_path: Path) -> None:
    keep_seconds(tmp_path, {"train": 100.0, "evaluate": 40.0})
    evaluations = [{"epoch": 1.0, "eval_runtime": 40.0}, {"epoch": 2.0, "eval_runtime": 3.0}]
    clock = Clock(tmp_path, resumed_from=1.0)
    with clock.timed("train"):
        pass
    seconds = clock.seconds(TrainerState(log_history=evaluations))
    assert seconds["evaluate"] == 43
    assert seconds["train"] == pytest.approx(100 - 3, abs=0.5)


def test_what_lies_there_of_another_attempt_does_not_count_for_a_run_that_begins(
    tmp_path: Path,
) -> None:
    keep_seconds(tmp_path, {"train": 100.0})
    clock = Clock(tmp_path, resumed_from=0)
    with clock.timed("train"):
        pass
    assert clock.seconds(TrainerState())["train"] < 100
