"""Runs that are given one by one, through Hydra's own launcher."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig

from sparsead.config.launch import launch_jobs
from sparsead.runs import tally

SEEN: list[tuple[float, str | None]] = []


def remember(config: DictConfig) -> float:
    SEEN.append((config.sparsity.ratio, config.task.get("train")))
    return 0.0


def test_the_words_of_a_job_are_those_of_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "STARTED", tally.Sweep())  # later tests have started no sweep
    jobs = [["pruner=none", "sparsity=0"], ["task=text", "task.train=my file.csv"]]
    assert launch_jobs(jobs, remember, ["hydra/launcher=basic"], tmp_path) == []
    assert SEEN == [(0, None), (0.4, "my file.csv")]
