"""A run that was killed continues from its last checkpoint, and ends with the same bits."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from forked import Worker, start_command

COMMAND = (
    "train",
    "backbone=tiny-bert",
    "task=mrpc",
    "device=cpu",
    "precision=fp32",  # auto is what each process times
    "protocol.epochs=12",
    "protocol.batch_size=8",
    "adapter.dropout=0.1",
)


def start(folder: Path, glue: Path) -> Worker:
    return start_command([*COMMAND, f"task.path={glue}"], folder)


def kill_after_checkpoint(folder: Path, glue: Path, number: int, stop: signal.Signals) -> None:
    process = start(folder, glue)
    pattern = "outputs/runs/.partial-*/checkpoint-*/trainer_state.json"
    while not process.has_ended():
        steps = [int(path.parent.name.rpartition("-")[2]) for path in folder.glob(pattern)]
        if steps and max(steps) >= 12 * number:
            process.send_signal(stop)
            process.wait()
            return
        time.sleep(0.02)
    pytest.fail("the run ended before it could be killed")


def result(folder: Path) -> dict[str, object]:
    (file,) = folder.glob("outputs/runs/[!.]*/result.json")
    return dict(json.loads(file.read_text()))


def test_a_killed_run_resumes_to_the_same_mask_zeros_and_scores(
    tmp_path: Path, glue_fixture: Path
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    assert start(undisturbed, glue_fixture).wait().returncode == 0
    kill_after_checkpoint(disturbed, glue_fixture, 2, signal.SIGKILL)
    kill_after_checkpoint(disturbed, glue_fixture, 4, signal.SIGINT)
    assert list(disturbed.glob("outputs/runs/[!.]*")) == []
    assert start(disturbed, glue_fixture).wait().returncode == 0
    before, after = result(undisturbed), result(disturbed)
    for key in ("identity", "scores", "sparsity", "history", "parameters"):
        assert before[key] == after[key], key
    (one,), (two,) = (side.glob("outputs/runs/*/adapter.*") for side in (undisturbed, disturbed))
    assert one.read_bytes() == two.read_bytes()
    assert list(disturbed.glob("outputs/runs/.*")) == []
    (folder,) = disturbed.glob("outputs/runs/*")
    assert not list(folder.glob("checkpoint-*"))
