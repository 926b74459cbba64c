"""What the benchmarks rest on: records that the readers accept, and turns that end in time."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from exhaustive import EXHAUSTIVE
from sparsead.runs.record import read_records

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of scripts/ as the script itself does."""

    def imported(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(SCRIPTS))
        return importlib.import_module(name)

    return imported


class Clock:
    """A clock that only moves when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> Any:
        def contestant(_turn: int) -> float:
            self.now += seconds
            return seconds

        return contestant


@pytest.mark.slow
def test_the_synthetic_records_are_read_and_tabulated(load: Any, tmp_path: Path) -> None:
    bench, turns = load("bench_cli"), load("turns")
    bench.write_records(tmp_path, 10, turns.Budget())
    assert len(list(read_records(tmp_path))) == 10
    script = Path(sys.executable).with_name("sparsead")
    for verb in ("table", "runs"):
        command = [script, verb, "--outputs", tmp_path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_rows_are_told_as_they_are_measured_and_turns_end_with_the_budget(load: Any) -> None:
    turns, clock = load("turns"), Clock()
    told: list[str] = []
    lines: list[str] = []
    contestants = {"slow": clock.work(20.0), "fast": clock.work(1.0), "late": clock.work(60.0)}
    times = turns.take_turns(
        contestants,
        9,
        turns.Budget(2, clock),
        lambda key, times: told.append(f"{key} at {clock.now:g}: {times[key]}"),
        lines.append,
    )
    assert told == ["slow at 40: [20.0]", "fast at 42: [1.0]", "late at 162: [60.0]"]
    assert {key: len(each) for key, each in times.items()} == {"slow": 1, "fast": 1, "late": 1}
    assert lines[-1] == "the time is up after 2.7 of at most 2 minutes"


def test_who_is_not_reached_or_cannot_take_part_is_named(load: Any) -> None:
    turns, clock = load("turns"), Clock()
    lines: list[str] = []

    def fails(_turn: int) -> float:
        raise turns.LeftOut("its process has ended")

    warm: list[int] = []

    def fails_when_timed(turn: int) -> float:
        if warm:
            fails(turn)
        warm.append(turn)
        return 0.0

    contestants: dict[Any, Any] = {
        "broken": fails,
        "weak": fails_when_timed,
        "long": clock.work(61.0),
        "never": clock.work(1.0),
    }
    contestants["nor", "this"] = clock.work(1.0)
    budget = turns.Budget(2, clock)
    times = turns.take_turns(contestants, 3, budget, lambda *_: None, lines.append)
    assert times == {"long": [61.0]}
    assert lines == [
        "broken is left out: its process has ended",
        "weak is left out: its process has ended",
        "the time is up after 2.0 of at most 2 minutes, without never; nor, this",
    ]
    with pytest.raises(turns.TimeUp):
        budget.check()


@pytest.mark.slow
def test_the_dry_run_for_a_gpu_has_the_same_losses_in_rounded_shapes(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPTS / "bench_gpu.py"), "--tiny", "--device=cpu"]
    command += ["--without-jobs", f"--json={file}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text("utf-8"))
    rounded = [value for name, value in figures.items() if "epoch of graphs" in name]
    in_fp32, in_bf16 = (each["greatest difference of a loss"] for each in rounded)
    assert in_fp32 < 1e-5
    assert in_bf16 < 2e-2
    assert {"device", "versions", "seconds a step", "precision=auto"} <= figures.keys()


@pytest.mark.slow
@pytest.mark.skipif(not EXHAUSTIVE, reason="SPARSEAD_EXHAUSTIVE is not set")
def test_training_steps_are_timed_within_seconds(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    script = str(SCRIPTS / "bench_train.py")
    command = [sys.executable, script, "--backbone=tiny-bert", "--batch-size=4"]
    command += ["--without-adapters", "--quick", "--minutes=0.01", f"--json={figures}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "full fine-tuning, random, fp32" in done.stdout.splitlines()[0]
    assert "the time is up after" in done.stdout
    assert json.loads(figures.read_text("utf-8"))["rows"]
