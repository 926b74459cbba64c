"""One run that torchrun or accelerate starts: killed, resumed and shown by a tracker.

On a CPU, torchrun starts two processes, and accelerate one, however many it is asked for.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from exhaustive import EXHAUSTIVE
from sparsead.runs.record import read_records

SMALL = (
    *("backbone=tiny-bert", "task=demo_mrpc", "task.limit=64", "protocol.batch_size=8"),
    *("protocol.epochs=4", "device=cpu", "precision=fp32"),
)
STARTERS = {
    "torchrun": ("torch.distributed.run", "--nproc-per-node", "2", "--master-port"),
    "accelerate": (
        *("accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"),
        "--main_process_port",
    ),
}


def start(starter: str, folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start a run, whose processes find each other at a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                *STARTERS[starter],
                port,
                "-m",
                "sparsead.train",
                *SMALL,
                *words,
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )


def kill(running: subprocess.Popen[bytes]) -> None:
    """Kill what was started, and its processes, of which each has a session of its own."""
    started = psutil.Process(running.pid)
    for process in (*started.children(recursive=True), started):
        process.kill()
    running.wait()


def await_checkpoint(outputs: Path, running: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        if list(outputs.glob("runs/.partial-*/checkpoint-*/trainer_state.json")):
            return
        assert running.poll() is None
        time.sleep(0.05)
    raise AssertionError("there is no checkpoint")


@pytest.mark.skipif(not EXHAUSTIVE, reason="takes minutes: set SPARSEAD_EXHAUSTIVE=1")
@pytest.mark.parametrize("starter", STARTERS)
def test_a_run_resumes_after_a_kill(starter: str, tmp_path: Path) -> None:
    tracked = ("tracking=tensorboard",) if importlib.util.find_spec("tensorboard") else ()
    killed = start(starter, tmp_path, f"outputs={tmp_path / 'killed'}", *tracked)
    await_checkpoint(tmp_path / "killed", killed)
    kill(killed)
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
