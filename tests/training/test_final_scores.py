"""The evaluations in a run's record: their number, and collapsed predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from composing import ask_for
from sparsead.pruning.storage import load_sparse
from sparsead.runs.record import RunRecord
from sparsead.tasks.contract import Task
from sparsead.train import train
from sparsead.training.generation import TextGenerator
from sparsead.training.prediction import have_collapsed
from sparsead.training.trainer import SparseadTrainer


def run(outputs: Path, *overrides: str) -> RunRecord:
    tiny = {"backbone": "tiny-bert", "task.limit": 48, "protocol.epochs": 2, "device": "cpu"}
    given = [override.partition("=")[0] for override in overrides]
    rest = [f"{key}={value}" for key, value in tiny.items() if key not in given]
    return train(ask_for(*rest, "protocol.batch_size=8", f"outputs={outputs}", *overrides))


@pytest.mark.parametrize(
    ("records", "collapsed"),
    [
        ([{"prediction": "a"}, {"prediction": "a"}], True),
        ([{"prediction": "a"}, {"prediction": "b"}], False),
        ([{"prediction": 2.0}, {"prediction": 2.0}], True),
        ([{"prediction": "a"}], False),
        ([{"prediction": "a", "reference": "a"}, {"prediction": "a", "reference": "b"}], True),
        (
            [{"prediction": "a", "references": ["a"]}, {"prediction": "a", "references": ["a"]}],
            False,
        ),
    ],
)
def test_predictions_have_collapsed_if_they_are_the_same_and_the_truth_is_not(
    records: list[dict[str, Any]], collapsed: bool
) -> None:
    assert have_collapsed(cast(Task, object()), records) is collapsed


@pytest.mark.slow
@pytest.mark.parametrize("task", ["demo_cola", "demo_stsb", "demo_xsum"])
@pytest.mark.parametrize("protocol", ["default", "clean"])
def test_a_run_that_predicts_the_same_for_all_examples_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, protocol: str
) -> None:
    whole = SparseadTrainer.prediction_step

    def same_logits(*args: Any, **kwargs: Any) -> Any:
        loss, logits, labels = whole(*args, **kwargs)
        return loss, logits if logits is None or logits.dim() != 2 else 0 * logits, labels

    monkeypatch.setattr(SparseadTrainer, "prediction_step", same_logits)
    monkeypatch.setattr(TextGenerator, "texts", lambda _, rows: ["the same"] * len(rows))
    backbone = "tiny-bart" if task == "demo_xsum" else "tiny-bert"
    overrides = (f"task={task}", f"protocol={protocol}", f"backbone={backbone}")
    found = run(tmp_path, *overrides, "pruner=random", "task.limit=24").result
    assert found["collapsed"] is True
    assert next(iter(found["scores"].values())) == pytest.approx(0, abs=0.05)
    if task != "demo_xsum":
        assert all(each["collapsed"] for each in found["history"])


@pytest.mark.slow
def test_a_run_that_tells_examples_apart_is_not_marked(tmp_path: Path) -> None:
    found = run(tmp_path, "task=demo_squad", "pruner=random").result
    assert found["collapsed"] is False
    assert not any("collapsed" in each for each in found["history"])


@pytest.mark.slow
def test_evaluations_within_epochs_change_nothing_but_the_history(tmp_path: Path) -> None:
    """Dropout draws from the global generator, from which evaluations must not draw."""
    overrides = ("task=demo_cola", "backbone.dropout=0.1", "adapter.dropout=0.1")
    often, seldom = (
        run(tmp_path, *overrides, f"protocol.evaluations={number}") for number in ("8", "null")
    )
    assert often.result["identity"] != seldom.result["identity"]
    assert [each["epoch"] for each in seldom.result["history"]] == [1, 2]
    before, *during = often.result["history"]
    assert (before["epoch"], "train_loss" in before, "scores" in before) == (0, False, True)
    shares = [each["epoch"] for each in during]
    assert shares == pytest.approx([0.33, 0.5, 0.67, 1, 1.33, 1.5, 1.67, 2], abs=0.01)
    assert all("scores" in each and "train_loss" in each for each in during)
    assert often.result["scores"] == seldom.result["scores"]
    one, two = (
        load_sparse(each.folder / "adapter.safetensors").tensors for each in (often, seldom)
    )
    assert all((one[name] == two[name]).all() for name in two)
    assert during[3]["scores"] == seldom.result["history"][0]["scores"]


@pytest.mark.slow
def test_a_watch_sees_one_score_an_epoch_however_often_it_is_evaluated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    request = ask_for(
        *("backbone=tiny-bert", "task.limit=16", "protocol.epochs=2", "protocol.batch_size=8"),
        *("device=cpu", f"outputs={tmp_path}", "protocol.evaluations=2000000000"),
    )

    def watch(scores: Sequence[float]) -> bool:
        seen.append(len(scores))
        return False

    train(request, watch)
    assert seen == [1, 2]
    assert (
        "protocol.evaluations=2000000000: an epoch has only 2 steps; evaluates after each"
        in caplog.text
    )
