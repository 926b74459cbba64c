"""Two workers on one table, killed at random times: each run is recorded once and completely."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import sweep_worker
from sparsead.report.formats import FORMATS
from sparsead.report.settings import group_by_setting, list_columns
from sparsead.runs.index import read_summaries
from sparsead.tables.cells import Cell, list_cells
from sparsead.tables.files import load_table
from sparsead.tables.sweep import run_cells

Worker = subprocess.Popen[str]
CHANGES = ("backbone=tiny-bert", "only=column=mrpc", "seeds=24")
_KILLS = 20 if os.environ.get("SPARSEAD_EXHAUSTIVE") else 8


def start(*command: object) -> Worker:
    arguments = [sys.executable, *map(str, command)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def kill_at_random(
    launch: Callable[[], Worker], moments: Sequence[float], first_word: bool
) -> None:
    """Keep two workers running; after each pause, in seconds, kill one and start another."""
    dice = random.Random(7)
    workers = [launch(), launch()]
    for pause in moments:
        chosen = dice.randrange(2)
        if first_word:
            stdout = workers[chosen].stdout
            assert stdout is not None
            stdout.readline()
        time.sleep(pause)
        workers[chosen].send_signal(signal.SIGKILL)
        workers[chosen].wait()
        workers[chosen] = launch()
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.close()


def assert_whole(outputs: Path, wanted: Sequence[Cell]) -> None:
    """Check that each wanted run is recorded once and completely, and that nothing else is left."""
    expected = {cell.request.folder.name for cell in wanted}
    assert {path.name for path in (outputs / "runs").iterdir()} == expected
    for folder in (outputs / "runs").iterdir():
        json.loads((folder / "result.json").read_text())
        assert not list(folder.glob("checkpoint-*"))


def table_of(outputs: Path) -> str:
    rows = group_by_setting(read_summaries(outputs))
    shown = [column for column in list_columns(rows) if column != "seconds"]
    return FORMATS["md"](shown, rows)


def test_a_table_survives_kill_after_kill(tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    alone = list_cells(load_table("table3", [*CHANGES, f"outputs={undisturbed}"]))
    run_cells(alone, sweep_worker.execute, tell=lambda *_: None)
    disturbed.mkdir()
    changes = [*CHANGES, f"outputs={disturbed}"]
    dice = random.Random(3)
    kill_at_random(
        lambda: start(sweep_worker.__file__, "table3", *changes),
        [dice.uniform(0, 0.4) for _ in range(_KILLS)],
        first_word=True,
    )
    assert_whole(disturbed, list_cells(load_table("table3", changes)))
    assert table_of(disturbed) == table_of(undisturbed)


def test_real_runs_survive_a_kill_too(tmp_path: Path, glue_fixture: Path) -> None:
    from sparsead.train import train

    small = ("backbone=tiny-bert", "only=column=mrpc", "only=row=adapter,ls2x", "seeds=2")
    on_cpu = ("device=cpu", "precision=fp32", "protocol.epochs=3")  # auto: what each times
    changes = (*small, f"task.path={glue_fixture}", *on_cpu)
    alone = list_cells(load_table("table3", [*changes, f"outputs={tmp_path / 'undisturbed'}"]))
    run_cells(alone, train, tell=lambda *_: None)
    disturbed = (*changes, f"outputs={tmp_path / 'disturbed'}")
    script = Path(sys.executable).with_name("sparsead")
    runs = tmp_path / "disturbed" / "runs"
    workers = [start(script, "reproduce", "table3", *disturbed) for _ in range(2)]
    while not list(runs.glob(".partial-*/checkpoint-*")) and None in (w.poll() for w in workers):
        time.sleep(0.01)
    workers[0].kill()
    workers[0].communicate()
    assert "MRPC" in workers[1].communicate()[0]
    assert workers[1].returncode == 0
    assert_whole(tmp_path / "disturbed", alone)
    assert table_of(tmp_path / "disturbed") == table_of(tmp_path / "undisturbed")
