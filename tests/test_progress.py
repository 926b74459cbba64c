"""What a command tells while it works: lines, one bar, and golden screens of a pseudo-terminal."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Cli
from pseudo_terminal import run_at_terminal
from sparsead.progress import LineHandler, Stage, format_seconds, name_sweep, stage

TRAIN = (
    *("train", "backbone=tiny-bert", "task=demo_mrpc", "task.limit=100", "protocol.epochs=2"),
    *("protocol.batch_size=4", "device=cpu", "precision=fp32"),
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def sweep() -> Iterator[None]:
    name_sweep("run 2 of 9")
    yield
    name_sweep("")


def test_a_line_at_most_every_thirty_seconds_says_how_far_the_work_is(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), stage("training", 100) as shown:
        for _ in range(100):
            clock[0] += 2
            shown.advance()
    assert [record.message for record in caplog.records][:2] == [
        "training: 15/100, 3 min left",
        "training: 30/100, 2 min left",
    ]
    assert len(caplog.records) == 6  # 200 seconds


def test_an_inner_stage_takes_the_place_of_the_outer_one_and_a_sweep_is_named(
    clock: list[float], caplog: pytest.LogCaptureFixture, sweep: None
) -> None:
    with caplog.at_level(logging.INFO), stage("training", 10) as outer:
        outer.note = "loss 0.500"
        with stage("evaluating"):
            stage("left open by an error").__enter__()
        with stage("evaluating") as inner:
            clock[0] += 31
            inner.advance()
        clock[0] += 31
        outer.advance()
    said = [record.message for record in caplog.records]
    assert said == [
        "run 2 of 9: evaluating",
        "run 2 of 9: training: 1/10, loss 0.500, 9 min left",
    ]


def test_a_stage_that_an_error_left_open_may_be_collected_later() -> None:
    inner = stage("evaluating")
    with stage("training"):
        inner.__enter__()
    with stage("training") as other:
        inner.__exit__(None, None, None)
        other.advance()
        assert other.done == 1


def test_a_resumed_stage_estimates_from_its_own_steps(clock: list[float]) -> None:
    resumed = Stage("training", 100)
    resumed.start_at(90)
    assert resumed.seconds_left is None
    clock[0] += 10
    resumed.advance()
    assert resumed.seconds_left == 90


def test_durations_are_short() -> None:
    assert [format_seconds(s) for s in (3.2, 89, 100, 5000, 9000)] == [
        *("3 s", "89 s", "2 min", "83 min", "2.5 h")
    ]


def test_a_sweep_leaves_out_the_course_of_its_runs_but_no_warning(
    capsys: pytest.CaptureFixture[str], sweep: None
) -> None:
    handler = LineHandler()
    for name, level in (
        ("sparsead.training.trainer", logging.INFO),
        ("sparsead.training.trainer", logging.WARNING),
        ("sparsead.commands.train", logging.INFO),
    ):
        handler.emit(logging.LogRecord(name, level, "", 0, f"{name} {level}", None, None))
    assert capsys.readouterr().out.splitlines() == [
        "sparsead.training.trainer 30",
        "sparsead.commands.train 20",
    ]


def as_form(line: str) -> str:
    """Return a line with what differs between machines and runs replaced."""
    line = re.sub(r"[0-9a-f]{16}", "IDENTITY", line)
    line = re.sub(r"show [0-9a-f]{8}", "show IDENTITY", line)
    return re.sub(r"\d+(,\d{3})*(\.\d+)?", "N", line)


SCREEN = """\
houlsby with r=N, N % removed by snip, on tiny-bert; task demo_mrpc, seed N
fN is that of the class equivalent; the other is not_equivalent
N weights train; N of N prunable ones are removed (N %)
N examples, none cut at N tokens; N steps on cpu in fpN, about N s
epoch N: accuracy N, fN N
epoch N: accuracy N, fN N
accuracy N, fN N
N % interval of accuracy: N to N, over the N examples of validation
removed N of N prunable weights (N %)
outputs/runs/tiny-bert_demo_mrpc_houlsby_snip_N_seedN_IDENTITY
next: sparsead show IDENTITY
      sparsead table
      sparsead train … pruner=none sparsity=N   (the dense one, to compare)"""


@pytest.mark.slow
def test_the_screen_of_a_run_and_of_the_same_run_again(tmp_path: Path) -> None:
    ended = run_at_terminal([*TRAIN], tmp_path)
    assert ended.status == 0, ended.drawn
    text = "\n".join(as_form(line) for line in ended.screen if line)
    text = re.sub(r"examples of\s+validation", "examples of validation", text)  # wrapped or not
    text = re.sub(r"all predictions are the same[^.]*protocol.learning_rate\n", "", text)
    assert text == SCREEN
    assert all(len(line) <= 80 for line in ended.screen)
    for label in ("loading torch", "tokenising", "scoring the weights by snip", "evaluating"):
        assert label in ended.drawn, label
    assert not re.search(r"it/s|examples/s|\d+%\|", ended.drawn)  # of no other library's bar
    again = run_at_terminal([*TRAIN], tmp_path, NO_COLOR="1")
    assert again.screen[1] == "recorded already (rerun=true trains it again)"
    assert again.screen[2:] == [*ended.screen[-(len(again.screen) - 2) :]]
    assert "loading torch" not in again.drawn


@pytest.mark.slow
def test_quiet_prints_the_folder_and_json_one_object(forked: Cli, tmp_path: Path) -> None:
    quiet = forked([*TRAIN, "--quiet"])
    assert (quiet.returncode, quiet.stderr) == (0, "")
    (folder,) = (tmp_path / "outputs" / "runs").iterdir()
    assert quiet.stdout == f"outputs/runs/{folder.name}\n"
    said = json.loads(forked([*TRAIN, "--json"]).stdout)
    result = json.loads((folder / "result.json").read_text())
    assert said["run"] == folder.name
    assert said["scores"]["accuracy"] == 100 * result["scores"]["accuracy"]
    low, high = said["interval"]
    assert low <= said["scores"]["accuracy"] <= high


OWN = """
def mine(scoring, fail=False):
    if fail:
        return scoring.parameters
    return {name: weight.detach().abs() for name, weight in scoring.tensors.items()}
"""


@pytest.mark.slow
def test_a_failing_pruner_of_ones_own_is_one_line_and_a_sweep_is_summed_up(
    forked: Cli, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "conf" / "pruner").mkdir(parents=True)
    for name, fails in (("mine", "false"), ("bad", "true")):
        content = f"name: {name}\n_target_: own.mine\nfail: {fails}\n"
        (tmp_path / "conf" / "pruner" / f"{name}.yaml").write_text(content)
    path = {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    alone = forked([*TRAIN, "--config-dir", "conf", "pruner=bad"], **path)
    assert alone.returncode == 2
    assert alone.stderr.startswith(
        "sparsead: own.py:4: in mine: AttributeError: 'Scoring' object has no attribute "
        "'parameters'; it has model, tensors, batches, loss, sparsity, seed"
    )
    assert alone.stderr.count("\n") == 1
    sweep = ["--config-dir", "conf", "-m", "pruner=random,bad,mine"]
    done = forked([*TRAIN, *sweep], **path)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert [line[:7] for line in lines if " of 3" in line] == ["1 of 3:", "2 of 3:", "3 of 3:"]
    assert "2 of 3: failed: tiny-bert_demo_mrpc_houlsby_bad_0.4_seed1_" in done.stdout
    assert lines[-1].startswith("2 done, 1 failed; see outputs/runs/failed-tiny-bert_demo_mrpc_")
    assert "`sparsead runs state=failed` lists them" in lines[-1]
