"""A training that Ctrl-C interrupted in an epoch is resumed, and ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

import sparsead.train as training
from composing import ask_for
from sparsead.assembly import phases
from sparsead.runs.interrupt import defer_interrupt, stop_on_interrupt
from sparsead.runs.listing import list_runs
from sparsead.runs.request import RunRequest
from sparsead.training import precision

PHASES = ("load", "prune", "train", "evaluate", "trainer")


@contextmanager
def interrupted_at_step(number: int) -> Iterator[Callable[[], bool]]:
    """Report a Ctrl-C from the given step on."""
    asked = iter(range(1, 10_000))
    yield lambda: next(asked) >= number


def press_ctrl_c(seen: list[bool]) -> None:
    with stop_on_interrupt("go on"), defer_interrupt() as interrupted:
        seen.append(interrupted())
        os.kill(os.getpid(), signal.SIGINT)
        seen.append(interrupted())


def request_of(outputs: Path, glue: Path, *overrides: str) -> RunRequest:
    small = ("backbone=tiny-bert", "task=mrpc", f"task.path={glue}", "device=cpu")
    protocol = ("protocol.epochs=3", "protocol.batch_size=8", "adapter.dropout=0.1")
    return ask_for(*small, *protocol, f"outputs={outputs}", *overrides)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("evaluations", "asked", "per_epoch"),
    [
        ("null", 18, 12),
        ("9", 17, 12),  # behind the fourth step of the second epoch, which is evaluated
        ("null protocol=clean protocol.patience=2", 5, 11),  # no epoch has ended, none is the best
    ],
)
def test_an_epoch_left_in_its_middle_goes_on_to_the_same_bits_in_the_same_precision(
    tmp_path: Path,
    glue_fixture: Path,
    monkeypatch: pytest.MonkeyPatch,
    evaluations: str,
    asked: int,
    per_epoch: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(precision, "cpu_is_faster_in_bf16", lambda: True)
    overrides = f"protocol.evaluations={evaluations}".split()
    whole = training.train(request_of(tmp_path / "whole", glue_fixture, *overrides))
    request = request_of(tmp_path / "left", glue_fixture, *overrides)
    with monkeypatch.context() as patch:
        patch.setattr(phases, "defer_interrupt", lambda: interrupted_at_step(asked))
        with pytest.raises(KeyboardInterrupt):
            training.train(request)
    (staging,) = (tmp_path / "left" / "runs").iterdir()
    steps = sorted(int(path.name.rpartition("-")[2]) for path in staging.glob("checkpoint-*"))
    assert steps[-1] % per_epoch, "the checkpoint is to be inside an epoch"
    kept = json.loads((staging / "seconds.json").read_text("utf-8"))
    begun = [phase for phase in PHASES if phase != "evaluate" or asked > per_epoch]
    assert min(kept[phase] for phase in begun) > 0
    (staging / "seconds.json").write_text(json.dumps(dict.fromkeys(PHASES, 1000.0)), "utf-8")

    monkeypatch.setattr(precision, "cpu_is_faster_in_bf16", lambda: False)
    assert [run.row["state"] for run in list_runs(tmp_path / "left")] == ["interrupted"]
    with caplog.at_level("INFO"):
        resumed = training.train(request)
    assert f"going on from step {steps[-1]} of {3 * per_epoch}" in caplog.text
    assert [run.row["state"] for run in list_runs(tmp_path / "left")] == ["done"]
    assert resumed.result["environment"]["precision"] == "bf16"
    assert resumed.result["resumed_from_epoch"] == pytest.approx(steps[-1] / per_epoch)
    for key in ("identity", "scores", "history", "sparsity"):
        assert resumed.result[key] == whole.result[key], key
    assert all(1000 < resumed.result["seconds"][phase] < 2000 for phase in PHASES)
    assert whole.result["seconds"].keys() == resumed.result["seconds"].keys() == {*PHASES, "report"}
    weights = [(each.folder / "adapter.safetensors").read_bytes() for each in (whole, resumed)]
    assert weights[0] == weights[1]
    assert {path.name for path in resumed.folder.iterdir()} == {
        path.name for path in whole.folder.iterdir()
    }
    assert not {"outputs", "rerun"} & set(resumed.result["config"])


@pytest.mark.slow
def test_an_epoch_left_behind_its_last_step_is_evaluated_all_the_same(
    tmp_path: Path, glue_fixture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training.train(request_of(tmp_path / "whole", glue_fixture))
    for asked in (12, 12 + 1 + 12 + 1 + 12):  # asked behind each step, and each checkpoint
        request = request_of(tmp_path / str(asked), glue_fixture)
        with monkeypatch.context() as patch:
            patch.setattr(phases, "defer_interrupt", partial(interrupted_at_step, asked))
            with pytest.raises(KeyboardInterrupt):
                training.train(request)
        resumed = training.train(request)
        assert resumed.result["resumed_from_epoch"] in (1, 3)
        assert resumed.result["history"] == whole.result["history"]


def test_a_held_ctrl_c_waits_for_the_end_of_the_block(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[bool] = []
    with pytest.raises(SystemExit, match="130"):
        press_ctrl_c(seen)
    assert seen == [False, True]
    assert (
        capsys.readouterr().err.splitlines()[0]
        == "sparsead: stopping; press Ctrl-C again to stop immediately"
    )


def test_ctrl_c_does_not_wait_where_several_processes_train_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    seen: list[bool] = []
    with pytest.raises(SystemExit, match="130"):
        press_ctrl_c(seen)
    assert seen == [False]
