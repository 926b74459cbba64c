"""A worker on a table, for killing, stopping and taking over at any time.

Its runs take part of a second. Each is a chain of hashes, of which every link is a checkpoint, so
that its result shows whether each step was done once, in order, and from the right checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsead.errors import TakenOverError
from sparsead.runs import claim, processes
from sparsead.runs.files import write_atomically
from sparsead.runs.record import write_result
from sparsead.runs.request import RunRequest
from sparsead.runs.staging import check_owned, staged
from sparsead.tables.cells import list_cells
from sparsead.tables.files import load_table
from sparsead.tables.sweep import run_cells
from synthetic import synthetic_result

STEPS = 6
SECONDS = float(os.environ.get("SPARSEAD_STEP_SECONDS", "0.12"))
"""The longest time that a step takes."""
BEAT_SECONDS = 0.1


def execute(request: RunRequest, seconds: float = SECONDS) -> None:
    """Do a run whose steps take as many seconds at most."""
    try:
        with staged(request.folder, steps=lambda staging: _newest(staging)[0]) as staging:
            link = _train(request, staging, seconds)
            check_owned(staging)
            write_result(staging, synthetic_result(request) | {"data": {"link": link}}, "")
            for checkpoint in staging.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
    except TakenOverError:
        sys.stdout.write("lost\n")
        sys.stdout.flush()
        raise


def _train(request: RunRequest, staging: Path, seconds: float) -> str:
    done, link = _newest(staging)
    for step in range(done + 1, STEPS + 1):
        link = hashlib.sha256(f"{link} {step} {request.identity}".encode()).hexdigest()
        time.sleep(random.uniform(0, seconds))
        check_owned(staging)
        write_atomically(staging / f"checkpoint-{step}" / "link.json", json.dumps([step, link]))
        shutil.rmtree(staging / f"checkpoint-{step - 2}", ignore_errors=True)
    return link


def _newest(staging: Path) -> tuple[int, str]:
    links = [json.loads(file.read_text()) for file in staging.glob("checkpoint-*/link.json")]
    return tuple(max(links, default=(0, "")))


def work(pipe: Any, view: str, table: str, changes: Sequence[str]) -> None:
    """Say "ready", wait for a word, and do the runs of a table.

    Args:
        pipe: the connection to who started this process.
        view: how this worker tells whether the owner of a claim is alive. "here": by its process.
            "elsewhere": by its heartbeat alone, as on another machine. "mistaken": it takes each of
            them for dead, as it would after its clock was set.
        table: the name of the table.
        changes: the overrides of the table.
    """
    claim.BEAT_SECONDS = BEAT_SECONDS
    if view != "here":
        processes.find_machine = lambda: None  # type: ignore[assignment]
    if view == "mistaken":
        claim.STALE_BEATS = claim.WATCHED_BEATS = 0
    wanted = list_cells(load_table(table, changes))
    pipe.send("ready")
    pipe.recv()  # it begins when it is told to, so that two begin at a known time
    run_cells(wanted, execute, tell=lambda *_: None)
