"""Two commands on one table of real runs, of which one is killed: all is as if nothing happened."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from forked import start_command
from sparsead.tables.cells import Cell, list_cells
from sparsead.tables.files import load_table
from sparsead.tables.sweep import run_cells
from table_states import table_of


def assert_whole(outputs: Path, wanted: Sequence[Cell]) -> None:
    """Check that each wanted run is recorded once and completely, and that nothing else is left."""
    expected = {cell.request.folder.name for cell in wanted}
    assert {path.name for path in (outputs / "runs").iterdir()} == expected
    for folder in (outputs / "runs").iterdir():
        json.loads((folder / "result.json").read_text())
        assert not list(folder.glob("checkpoint-*"))


def test_real_runs_survive_a_kill(tmp_path: Path, glue_fixture: Path) -> None:
    from sparsead.train import train

    small = ("backbone=tiny-bert", "only=column=mrpc", "only=row=adapter,ls2x", "seeds=2")
    on_cpu = ("device=cpu", "precision=fp32", "protocol.epochs=3")  # auto: what each times
    changes = (*small, f"task.path={glue_fixture}", *on_cpu)
    alone = list_cells(load_table("table3", [*changes, f"outputs={tmp_path / 'undisturbed'}"]))
    run_cells(alone, train, tell=lambda *_: None)
    disturbed = (*changes, f"outputs={tmp_path / 'disturbed'}")
    runs = tmp_path / "disturbed" / "runs"
    killed, other = (start_command(["reproduce", "table3", *disturbed], tmp_path) for _ in range(2))
    while not list(runs.glob(".partial-*/checkpoint-*")) and not (
        killed.has_ended() or other.has_ended()
    ):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = other.wait()
    assert "MRPC" in done.stdout
    assert done.returncode == 0
    assert_whole(tmp_path / "disturbed", alone)
    assert table_of(tmp_path / "disturbed") == table_of(tmp_path / "undisturbed")
