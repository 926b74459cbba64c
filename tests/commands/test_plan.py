from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from composing import ask_for
from sparsead.commands import plan
from sparsead.commands.plan import calibrate
from sparsead.errors import ConfigError
from sparsead.runs.request import RunRequest
from sparsead.training.arguments import check_steps


def test_what_cannot_be_measured_is_said_once_for_each_reason(
    tmp_path: Path, glue_fixture: Path
) -> None:
    glue = Path(shutil.copytree(glue_fixture, tmp_path / "glue"))
    overrides = ("backbone=tiny-bert", "task=mrpc", f"task.path={glue}", f"outputs={tmp_path}")
    kinds = {name: ask_for(*overrides, f"pruner={name}") for name in ("snip", "grasp", "er")}
    (train_file,) = glue.rglob("MRPC/train.tsv")
    train_file.write_text("nothing\n", "utf-8")
    told: list[str] = []
    calibrate(kinds, told.append)
    (line,) = told
    assert line.startswith("cannot measure tiny-bert, mrpc, houlsby, snip and 2 other kinds of run")
    assert str(train_file) in line


def test_what_counts_the_steps_of_the_whole_training_is_measured_on_a_few_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stable = "{num_stable_steps: 50, num_decay_steps: 9}"
    kinds = [
        ("protocol.gradient_accumulation=8",),
        ("protocol.warmup=50",),
        ("protocol.max_steps=60",),
        ("protocol.scheduler=warmup_stable_decay", f"+protocol.scheduler_options={stable}"),
        ("protocol.gradient_accumulation=2000",),
    ]
    common = ("backbone=tiny-bert", "task=demo_mrpc", f"outputs={tmp_path}", "threads=1")
    asked: list[RunRequest] = []

    def stand_in(request: RunRequest) -> NoReturn:
        asked.append(request)
        raise ConfigError("is not trained here")

    monkeypatch.setattr(plan, "train_run", stand_in)
    told: list[str] = []
    calibrate({str(kind): ask_for(*common, *kind) for kind in kinds}, told.append)
    (examples,) = {request.spec.task.limit for request in asked}
    assert examples is not None
    for request in asked:
        check_steps(request.spec, examples)
    assert [request.threads for request in asked] == [1] * 4
    assert "and 3 other kinds of run: is not trained here" in told[0]
    assert re.search(r"=2000: is more than the number of batches in an epoch, \d\d+;", told[1])


OWN = """\
backbones: tiny-bert
columns: [{task: demo_mrpc, metric: accuracy, label: MRPC}]
average: true
rows: [{name: dense, overrides: [pruner=none]}, {name: snip}]
"""


def test_the_seeds_needed_are_printed_without_measuring_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(f"{OWN}baseline: dense\ncomparisons: [snip]\n", "utf-8")
    words = ("own.yaml", "--power", "0.8", "--effect", "0.5")
    monkeypatch.setattr("sys.argv", ["sparsead", *words])
    plan.main()
    assert capsys.readouterr().out.startswith("avg: 34 seeds to show 0.5 points with power 0.8")
    monkeypatch.setattr("sys.argv", ["sparsead", *words, "--json"])
    plan.main()
    guessed = {"column": "avg", "seeds": 34, "sd": 1.0, "measured": False}
    assert json.loads(capsys.readouterr().out) == {
        **{"effect": 0.5, "power": 0.8, "comparisons": 1},
        "columns": [guessed],
    }
    monkeypatch.setattr("sys.argv", ["sparsead", "own.yaml", "seeds=3", "--json"])
    monkeypatch.setattr(plan, "find_unmeasured", lambda _: {})  # so that nothing is measured
    plan.main()
    planned = json.loads(capsys.readouterr().out)
    assert planned["runs"] == {"missing": 6}
    assert planned["columns"] == [{"column": "avg", "points": None, "sd": 1.0, "measured": False}]
    assert not Path("outputs").exists()
    for wrong, said in (
        ("--power=1", "--power 1: must be above 0 and below 1"),
        ("--effect=inf", "--effect inf: must be a finite number above 0"),
        ("--sd=-1", "--sd -1: must be a finite number above 0"),
    ):
        monkeypatch.setattr("sys.argv", ["sparsead", *words, wrong])
        with pytest.raises(ConfigError, match=said):
            plan.main()
    Path("own.yaml").write_text(OWN, "utf-8")
    monkeypatch.setattr("sys.argv", ["sparsead", *words])
    with pytest.raises(ConfigError, match="own compares no rows"):
        plan.main()
