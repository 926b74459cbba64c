"""One run in two processes of torchrun or accelerate: killed, resumed and shown by a tracker."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exhaustive import EXHAUSTIVE
from sparsead.runs.record import read_records

SMALL = (
    *("backbone=tiny-bert", "task=demo_mrpc", "task.limit=64", "protocol.batch_size=8"),
    *("protocol.epochs=4", "device=cpu", "precision=fp32"),
)
STARTERS = {
    "torchrun": ("torch.distributed.run", "--master-port", "0", "--nproc-per-node", "2"),
    "accelerate": (
        *("accelerate.commands.launch", "--cpu", "--main_process_port", "0"),
        *("--num_processes", "2", "--num_machines", "1"),
    ),
}


def start(starter: str, folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start a run in two processes, all of them in one group."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *STARTERS[starter], "-m", "sparsead.train", *SMALL, *words],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def await_checkpoint(outputs: Path, running: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        if list(outputs.glob("runs/.partial-*/checkpoint-*/trainer_state.json")):
            return
        assert running.poll() is None
        time.sleep(0.05)


@pytest.mark.skipif(not EXHAUSTIVE, reason="takes minutes: set SPARSEAD_EXHAUSTIVE=1")
@pytest.mark.parametrize("starter", STARTERS)
def test_a_run_in_two_processes_resumes_after_a_kill(starter: str, tmp_path: Path) -> None:
    tracked = ("tracking=tensorboard",) if importlib.util.find_spec("tensorboard") else ()
    killed = start(starter, tmp_path, f"outputs={tmp_path / 'killed'}", *tracked)
    await_checkpoint(tmp_path / "killed", killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not list(read_records(tmp_path / "killed"))
    results = []
    for name in ("killed", "whole"):
        shown = tracked if name == "killed" else ()
        done = start(starter, tmp_path, f"outputs={tmp_path / name}", *shown)
        assert done.wait(600) == 0, (tmp_path / "log").read_text()
        (record,) = read_records(tmp_path / name)
        results.append(json.loads((record.folder / "result.json").read_text()))
    resumed, whole = results
    assert (tmp_path / "log").read_text().count("on tiny-bert; task demo_mrpc") == 3
    assert resumed["resumed_from_epoch"] >= 1
    assert resumed["scores"] == pytest.approx(whole["scores"])
    if tracked:
        (events,) = (tmp_path / "killed" / "tensorboard").iterdir()
        assert resumed["identity"] in events.name
