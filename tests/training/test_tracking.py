"""Trackers: what they are told of a run, without a network, and how a resumed run goes on."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from composing import ask_for
from sparsead.config.tracking import TrackingSpec, group_tracked
from sparsead.errors import ConfigError, TrainingStopped
from sparsead.runs.record import RunRecord
from sparsead.runs.request import RunRequest
from sparsead.train import train
from sparsead.training.tracking import IDENTITY_TAG, describe_result

RUN = (
    *("backbone=tiny-bert", "task=demo_mrpc", "task.limit=16", "adapter.bottleneck=4"),
    *("protocol.epochs=2", "protocol.batch_size=8", "device=cpu", "precision=fp32"),
)


def asked(folder: Path, *overrides: str) -> RunRequest:
    return ask_for(*RUN, f"outputs={folder}", *overrides)


def train_in_two_parts(request: RunRequest) -> RunRecord:
    """Train a run that stops after its first epoch and is then resumed."""
    with pytest.raises(TrainingStopped):
        train(request, watch=lambda scores: len(scores) == 1)
    return train(request)


def test_a_tracker_is_told_scores_and_sparsity_by_tensor() -> None:
    by_tensor = {"down": {"total": 8, "removed": 2}, "up": {"total": 8, "removed": 6}}
    values = describe_result(
        {"accuracy": 0.5, "f1": None}, {"realised": 0.5, "by_tensor": by_tensor}
    )
    shares = {"sparsity/all": 0.5, "sparsity/down": 0.25, "sparsity/up": 0.75}
    assert values == {"final/accuracy": 0.5, **shares}


def test_a_tracker_changes_no_identity_and_reaches_other_processes(tmp_path: Path) -> None:
    plain, tracked = (asked(tmp_path, f"tracking={name}") for name in ("none", "tensorboard"))
    assert tracked.identity == plain.identity
    assert tracked.tracking.folder == f"{tmp_path}/tensorboard"
    assert RunRequest.from_dict(tracked.to_dict()) == tracked


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    request = asked(tmp_path / "outputs", "tracking=mlflow")
    with pytest.raises(ConfigError, match=r"tracking=mlflow: .* not installed; pip install mlflow"):
        train(request)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["tracking=wandb", "tracking.project=../../x"], "a project of wandb cannot have any of /"),
        (["tracking=trackio", "tracking.project=..x"], "a project of trackio cannot have any of /"),
        (["tracking=mlflow", "tracking.project='a\x1b[2Jb'"], "must have visible characters only"),
        (["tracking=mlflow", "tracking.group='a\u202eb'"], "must have visible characters only"),
        (["tracking=tensorboard", "tracking.folder=' '"], "must have visible characters only"),
    ],
)
def test_a_project_that_could_not_be_named_so_is_refused(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ask_for(*overrides)
    assert ask_for("tracking=mlflow", "tracking.project=/Shared/x").tracking.project == "/Shared/x"


@pytest.mark.parametrize("override", ["folder=there", "project=mine", "group=mine"])
def test_a_key_that_a_tracker_has_not_is_refused(override: str) -> None:
    tracker = "trackio" if override.startswith("folder") else "tensorboard"
    with pytest.raises(ConfigError, match=rf"tracking\.{override}: {tracker} "):
        ask_for(f"tracking={tracker}", f"tracking.{override}")


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tracking.name=mlflo: .* did you mean mlflow"):
        TrackingSpec("mlflo")


def test_a_sweep_groups_its_tracked_runs_by_its_words() -> None:
    words = ["pruner=random,snip", "seed=1,2"]
    assert group_tracked(words) == words
    tracked = [*words, "tracking=wandb"]
    assert group_tracked(tracked) == [*tracked, "tracking.group='pruner=random,snip seed=1,2'"]
    named = [*tracked, "tracking.group=mine"]
    assert group_tracked(named) == named
    without_groups = [*words, "tracking=tensorboard"]
    assert group_tracked(without_groups) == without_groups


def find(module: str) -> Any:
    """Return a tracker's module, or skip the test where the tracker is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        pytest.skip(f"{module.partition('.')[0]} is not installed")


@pytest.mark.slow
def test_tensorboard_shows_one_run_that_was_interrupted(tmp_path: Path) -> None:
    reader = find("tensorboard.backend.event_processing.event_accumulator")
    record = train_in_two_parts(asked(tmp_path, "tracking=tensorboard"))
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert folder.name == record.folder.name
    events = reader.EventAccumulator(str(folder)).Reload()
    losses = events.Scalars("train/loss")
    assert [each.step for each in losses] == [2, 4]
    history = record.result["history"]
    assert [each.value for each in losses] == pytest.approx([e["train_loss"] for e in history])
    scores = [each.value for each in events.Scalars("eval/accuracy")]
    assert scores == pytest.approx([epoch["scores"]["accuracy"] for epoch in history])
    (final,) = events.Scalars("final/accuracy")
    assert final.value == pytest.approx(record.result["scores"]["accuracy"])
    removed = record.result["sparsity"]["by_tensor"]
    for name, counts in removed.items():
        (share,) = events.Scalars(f"sparsity/{name}")
        assert share.value == pytest.approx(counts["removed"] / counts["total"])
    assert not [file for file in record.folder.rglob("*") if "tfevents" in file.name]


@pytest.mark.slow
def test_mlflow_s_file_store_has_one_run_that_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = find("mlflow")
    request = asked(tmp_path, "tracking=mlflow")
    tracking = replace(request.tracking, folder=str(tmp_path / "mlruns"), group="mine")
    record = train_in_two_parts(replace(request, tracking=tracking))
    (run,) = mlflow.search_runs(experiment_names=["sparsead"], output_format="list")
    assert run.info.run_name == record.folder.name
    assert run.info.status == "FINISHED"
    assert run.data.tags[IDENTITY_TAG] == record.result["identity"]
    assert run.data.tags["sparsead.group"] == "mine"
    assert run.data.params["config.adapter.options.bottleneck"] == "4"
    assert run.data.metrics["final/accuracy"] == record.result["scores"]["accuracy"]
    curve = mlflow.MlflowClient().get_metric_history(run.info.run_id, "eval_accuracy")
    history = [epoch["scores"]["accuracy"] for epoch in record.result["history"]]
    assert [point.value for point in curve] == pytest.approx(history)


@pytest.mark.slow
def test_a_tracked_run_is_the_run_that_is_not_tracked(tmp_path: Path) -> None:
    find("tensorboard")
    tracked = train(asked(tmp_path / "tracked", "tracking=tensorboard"))
    plain = train(asked(tmp_path / "plain"))
    for key in ("identity", "setting", "config", "scores", "sparsity"):
        assert tracked.result[key] == plain.result[key]
    weights = [(each.folder / "adapter.safetensors").read_bytes() for each in (tracked, plain)]
    assert weights[0] == weights[1]
