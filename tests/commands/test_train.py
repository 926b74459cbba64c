"""The messages of `sparsead train` before the training."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from composing import ask_for
from sparsead.commands import train as launch
from sparsead.report.sweep import sum_up
from sparsead.runs.record import RunRecord, write_result
from sparsead.runs.request import RunRequest
from sparsead.runs.staging import staged
from sparsead.runs.tally import Sweep
from sparsead.search import NoPointError
from synthetic import synthetic_result


def job_config(overrides: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    """Compose a job's configuration and make it Hydra's current one, as starting a job does."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        config = hydra.compose("train", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
    return config


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["protocol=paper"], True),
        (["protocol=default"], False),
        (["protocol=paper", "search=grid"], False),
        (["protocol=paper", "search=asha"], False),
    ],
)
def test_the_papers_protocol_alone_says_that_it_is_one_point_of_the_grid(
    overrides: list[str],
    told: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class ReachedError(BaseException):  # not a failure of the run
        pass

    def reached(*_: object, **__: object) -> None:
        raise ReachedError

    monkeypatch.setattr(launch, "find_or_train", reached)
    monkeypatch.setattr(launch, "search", reached)
    config = job_config(overrides, monkeypatch)
    with caplog.at_level(logging.INFO), pytest.raises(ReachedError):
        launch.job(config)
    assert ("search=grid runs all 80" in caplog.text) == told


@pytest.mark.parametrize("own", [None, "0"])
def test_a_launch_leaves_the_users_environment_as_it_was(
    own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    if own is not None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", own)
    monkeypatch.setattr(sys, "argv", ["sparsead train", "pruner=snop"])
    with pytest.raises(SystemExit, match="2"):
        launch.main()
    assert os.environ.get("HYDRA_FULL_ERROR") == own


def test_a_score_that_is_not_defined_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("backbone=tiny-bert", "task=demo_stsb", f"outputs={tmp_path}")
    request = ask_for(*overrides)
    result = synthetic_result(request) | {"scores": {"pearson": None, "spearmanr": 0.25}}
    result["sparsity"] = {"requested": 0.4, "realised": 0.4, "removed": 4, "total": 10}
    with staged(request.folder) as staging:
        write_result(staging, result, "")
    launch.job(job_config(overrides, monkeypatch))
    assert "pearson not defined, spearmanr 25.00\n" in capsys.readouterr().out


def test_what_the_system_says_of_a_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    os.mkfifo(tmp_path / "model.safetensors")
    config = job_config(["backbone=folder", f"backbone.path={tmp_path}"], monkeypatch)
    with pytest.raises(SystemExit) as end:
        launch.job(config)
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said == f"sparsead: {tmp_path}/model.safetensors: Is neither a file nor a folder\n"


def test_a_sweep_counts_a_search_that_is_done_and_one_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def choose(request: RunRequest, **_: object) -> RunRecord:
        if request.spec.seed == 2:
            raise NoPointError("search=asha: no point finished")
        protocol = replace(request.spec.protocol, epochs=7)
        chosen = replace(request, spec=replace(request.spec, protocol=protocol))
        with staged(chosen.folder) as staging:
            write_result(staging, synthetic_result(chosen), "")
        return RunRecord.read(chosen.folder)

    monkeypatch.setattr(launch, "search", choose)
    for number, seed in enumerate((1, 2)):
        words = ["search=asha", "task=demo_mrpc", f"seed={seed}", f"outputs={tmp_path}"]
        sweep = ["hydra.mode=MULTIRUN", f"hydra.sweep.dir={tmp_path}", f"hydra.job.num={number}"]
        launch.job(job_config([*words, *sweep], monkeypatch))
    entries = Sweep(tmp_path).entries()
    assert [entry["state"] for entry in entries] == ["done", "failed"]
    assert RunRecord.read(Path(entries[0]["folder"])).result["config"]["protocol"]["epochs"] == 7
    with pytest.raises(SystemExit, match="1"):
        sum_up(entries)
    assert "1 done, 1 failed; the lines above say why" in capsys.readouterr().out
