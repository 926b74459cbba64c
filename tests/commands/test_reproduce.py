"""`sparsead reproduce`: runs are trained once, failures are reported, rendering needs no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from composing import ask_for
from conftest import Cli
from exhaustive import choose
from sparsead.commands import plan, reproduce
from sparsead.config.launch import take_launcher
from sparsead.config.tracking import group_tracked
from sparsead.errors import ConfigError
from sparsead.report import teller
from sparsead.runs.failure import read_failures
from sparsead.runs.record import read_records, write_result
from sparsead.runs.staging import staged
from sparsead.tables.cells import Cell, list_cells
from sparsead.tables.files import load_table
from synthetic import synthetic_result

TABLE = """\
title: two rows, one of which cannot be pruned
backbones: tiny-bert
seeds: 1
rows:
  - {experiment: table1/snip}
  - {name: identity, overrides: [adapter.init=zero_up]}
columns: [{task: mrpc, metric: accuracy, label: MRPC}]
"""
SKIPPED = pytest.mark.skip(reason="SPARSEAD_EXHAUSTIVE trains through each launcher")


@pytest.fixture
def words(tmp_path: Path, glue_fixture: Path) -> list[str]:
    (tmp_path / "mine.yaml").write_text(TABLE)
    changes = [f"outputs={tmp_path / 'outputs'}", "protocol.epochs=1", "device=cpu"]
    return [str(tmp_path / "mine.yaml"), f"task.path={glue_fixture}", *changes]


def called(verb: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["sparsead", *words])
    try:
        verb.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.slow
def test_a_table_is_planned_done_and_rendered_again(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert called(plan, monkeypatch, *words, "only=row=snip") == 0
    planned = capsys.readouterr().out
    assert "1 run: 0 done, 0 failed, 0 running, 1 to run" in planned
    assert "on this machine" in planned
    assert not (tmp_path / "outputs" / "runs").exists()

    assert called(reproduce, monkeypatch, *words) == 1
    done = capsys.readouterr()
    assert "zero at initialisation" in done.err
    assert "1 failed; --retry-failed" in done.err
    assert len(list(read_failures(tmp_path / "outputs"))) == 1

    code = (
        "import sys; from sparsead.cli import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    again = subprocess.run(
        [sys.executable, "-c", code, "reproduce", *words], capture_output=True, text=True
    )
    assert again.returncode == 1, again.stderr
    assert "2 runs: 1 done, 1 failed, 0 running, 0 to run" in again.stdout
    assert again.stdout.splitlines()[-4:] == done.out.splitlines()[-4:]
    assert called(reproduce, monkeypatch, *words, "only=row=snip") == 0
    capsys.readouterr()
    assert called(reproduce, monkeypatch, *words, "--retry-failed") == 1
    assert "1 done, 1 failed, 0 running, 0 to run, 1 to run again" in capsys.readouterr().out


def test_ctrl_c_leaves_a_line_and_status_130(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_spec: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce, "train_run", interrupt)
    assert called(reproduce, monkeypatch, *words) == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_runs_that_another_process_trains_do_not_count_as_this_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now, labels = [0.0], list[str]()
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(teller, "name_sweep", labels.append)
    request = ask_for("backbone=tiny-bert", "task=demo_rte", f"outputs={tmp_path}")
    cell = Cell("row", "column", "tiny-bert", 1, (), request)
    tell = teller.Teller(3)
    for event, seconds in (("run", 1), ("run", 60), ("failed", 0), ("run", 0)):  # one was taken
        tell(event, cell)
        now[0] += seconds
    assert "1 of 3: " in capsys.readouterr().out
    assert labels[1].startswith("run 1 of 3: ")
    assert labels[-1].startswith("run 2 of 3, 1 failed, about 2 min left for all: ")


LAUNCHERS = {
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit": ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"),
    "ray": ("hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", choose(LAUNCHERS, []) or [pytest.param("", marks=SKIPPED)])
def test_a_launcher_trains_a_tables_missing_runs(
    launcher: str, words: list[str], sparsead: Cli, tmp_path: Path
) -> None:
    once = [*words, *LAUNCHERS[launcher]]
    done = sparsead(["reproduce", *once], HOME=str(tmp_path))
    assert done.returncode == 1
    assert "2 of 2: " in done.stdout
    assert "1 failed; --retry-failed" in done.stderr
    assert "zero at initialisation" in done.stderr
    assert len(list(read_records(tmp_path / "outputs"))) == 1
    again = sparsead(["reproduce", *once, "only=row=snip"], HOME=str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert "1 of 1" not in again.stdout


def test_a_tables_tracked_runs_have_its_name_as_their_group(words: list[str]) -> None:
    table = load_table(words[0], [*words[1:], "tracking=wandb"])
    grouped = replace(table, overrides=group_tracked(table.overrides, table.name))
    assert {cell.request.tracking.group for cell in list_cells(grouped)} == {"mine"}
    assert {cell.request.tracking.group for cell in list_cells(table)} == {None}


def test_a_tracker_that_is_not_installed_fails_no_runs(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"tracking=mlflow: .*; pip install mlflow"):
        called(reproduce, monkeypatch, *words, "tracking=mlflow")
    assert not (tmp_path / "outputs").exists()


def test_a_tables_launcher_is_no_override_of_its_runs() -> None:
    chosen = ["hydra/launcher=ray", "+hydra.launcher.ray.remote.num_gpus=0.5"]
    assert take_launcher(["task.limit=8", *chosen]) == (chosen, ["task.limit=8"])
    assert take_launcher(["jobs_per_gpu=2", "device=cpu"])[0] == [
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
    ]
    assert load_table("table1", ["task.limit=8", *chosen]).overrides == ["task.limit=8"]
    with pytest.raises(ConfigError, match=r"hydra.launcher.n_jobs=2: needs a launcher"):
        take_launcher(["hydra.launcher.n_jobs=2"])


def test_a_launcher_replaces_a_damaged_record_and_says_done_of_no_other(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = load_table(words[0], [*words[1:], "only=row=snip"])
    (cell,) = list_cells(table)
    with staged(cell.request.folder) as staging:
        write_result(staging, synthetic_result(cell.request), "")
    file = cell.request.folder / "result.json"
    file.write_text(file.read_text()[:-50])
    launched: list[Sequence[str]] = []

    def launch(jobs: Sequence[Sequence[str]], *_: object) -> list[str]:
        launched.extend(jobs)
        return []

    monkeypatch.setattr(reproduce, "launch_jobs", launch)
    reproduce.launch_cells(table, [cell], ["hydra/launcher=joblib"], retry=True)
    assert launched == [(*cell.overrides, "rerun=true")]
    assert not capsys.readouterr().out  # the launcher has trained nothing


def test_what_a_launcher_cannot_do_is_one_line(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong, reason in (
        ("hydra/launcher=jobli", "did you mean joblib"),
        ("search=asha", "leave the launcher out"),
    ):
        launcher = [wrong] if "launcher" in wrong else ["hydra/launcher=joblib"]
        with pytest.raises(ConfigError, match=reason):
            called(reproduce, monkeypatch, *dict.fromkeys([*words, wrong, *launcher]))
