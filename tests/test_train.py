"""One run on the CPU, from the configuration to its record."""

from __future__ import annotations

import gc
import json
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from composing import ask_for
from sparsead.errors import SparseadError
from sparsead.pruning.storage import WEIGHTS_FILE, load_sparse
from sparsead.runs.request import RunRequest
from sparsead.train import train
from sparsead.training import allocator
from sparsead.training.precision import resolve_precision
from sparsead.training.trainer import SparseadTrainer


def tiny(outputs: Path, glue: Path, *overrides: str) -> RunRequest:
    return ask_for(
        "backbone=tiny-bert",
        "task=mrpc",
        f"task.path={glue}",
        f"outputs={outputs}",
        "device=cpu",
        "protocol.epochs=2",
        "protocol.batch_size=16",
        *overrides,
    )


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["random", "snip"])
@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-roberta", "tiny-bart"])
def test_exactly_the_budget_is_removed_and_stays_zero(
    tmp_path: Path, glue_fixture: Path, backbone: str, pruner: str
) -> None:
    request = tiny(tmp_path, glue_fixture, f"backbone={backbone}", f"pruner={pruner}")
    record = train(request)
    saved = load_sparse(record.folder / "adapter.safetensors").tensors
    prunable = {
        name: t for name, t in saved.items() if name in record.result["sparsity"]["by_tensor"]
    }
    total = sum(t.size for t in prunable.values())
    zeros = sum(int((t == 0).sum()) for t in prunable.values())
    assert total > 0
    assert zeros == round(0.4 * total) == record.result["sparsity"]["removed"]
    for name, tensor in prunable.items():
        assert int((tensor == 0).sum()) == record.result["sparsity"]["by_tensor"][name]["removed"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(tmp_path: Path, glue_fixture: Path) -> None:
    results = [train(tiny(tmp_path / side, glue_fixture)).result for side in "ab"]
    for key in ("identity", "scores", "history", "sparsity", "parameters"):
        assert json.dumps(results[0][key]) == json.dumps(results[1][key])
    other = train(tiny(tmp_path / "c", glue_fixture, "seed=2")).result
    assert other["history"] != results[0]["history"]
    assert other["setting"] == results[0]["setting"]


@pytest.mark.slow
def test_each_seed_sets_its_own_part(tmp_path: Path, glue_fixture: Path) -> None:
    def trained(*overrides: str) -> tuple[dict[str, bytes], Any]:
        short = ("pruner=random", "protocol.epochs=1")
        record = train(tiny(tmp_path, glue_fixture, *short, *overrides))
        stored = load_sparse(record.folder / WEIGHTS_FILE)
        masks = {name: mask.tobytes() for name, mask in stored.masks.items()}
        return masks, record.result["history"]

    masks, history = trained()
    data, init, mask = (trained(f"seed_{part}=2") for part in ("data", "init", "mask"))
    assert data[0] == init[0] == masks != mask[0]
    assert len({json.dumps(each) for each in (history, data[1], init[1], mask[1])}) == 4
    whole = ("seed=3", "seed_data=1", "seed_init=1", "seed_mask=1")
    assert trained(*whole, "rerun=true") == (masks, history)


@pytest.mark.slow
def test_drawing_anew_keeps_the_mask_and_the_head_but_not_the_weights(
    tmp_path: Path, glue_fixture: Path
) -> None:
    frozen = ("protocol.epochs=1", "protocol.learning_rate=1e-12")
    kept, drawn = (
        load_sparse(train(tiny(tmp_path, glue_fixture, *frozen, *more)).folder / WEIGHTS_FILE)
        for more in ((), ("pruner.control=reinit",))
    )
    for name, mask in kept.masks.items():
        assert (mask == drawn.masks[name]).all()
        assert (drawn.tensors[name][~mask] == 0).all()
        assert abs(drawn.tensors[name][mask].std() / 0.02 - 1) < 0.2
        together = np.corrcoef(kept.tensors[name][mask], drawn.tensors[name][mask])[0, 1]
        assert abs(together) < 5 / np.sqrt(mask.sum())
    head = [name for name in kept.tensors if "classifier" in name and name.endswith("weight")]
    assert head
    for name in head:
        np.testing.assert_allclose(kept.tensors[name], drawn.tensors[name], atol=1e-6)


def test_the_record_says_what_was_run(tmp_path: Path, glue_fixture: Path) -> None:
    record = train(tiny(tmp_path, glue_fixture))
    result = record.result
    assert sorted(path.name for path in record.folder.iterdir()) == [
        "adapter.safetensors",
        "config.yaml",
        "predictions-validation.parquet",
        "result.json",
    ]
    assert list(result["scores"]) == ["accuracy", "f1"]
    assert [epoch["epoch"] for epoch in result["history"]] == [1, 2]
    assert result["scores"] == result["history"][-1]["scores"]
    assert {split: said["examples"] for split, said in result["data"].items()} == {
        "train": 96,
        "validation": 32,
    }
    assert sum(result["data"]["train"]["classes"].values()) == 96
    assert len(set(result["sparsity"]["scored_on"])) == 96
    phases = {"load", "prune", "train", "evaluate", "trainer", "report"}
    assert set(result["seconds"]) == phases
    assert result["environment"]["precision"] == resolve_precision("auto", "cpu")
    assert result["environment"]["peak_memory_bytes"] > 2**20
    stored = (record.folder / "adapter.safetensors").stat().st_size
    assert result["parameters"]["stored_bytes"] == stored


@pytest.mark.slow
def test_clean_chooses_on_a_part_of_train_and_scores_the_dev_set_once(
    tmp_path: Path, glue_fixture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[str] = []
    evaluate = SparseadTrainer.evaluate

    def counted(*arguments: Any, **keywords: Any) -> dict[str, float]:
        scored.append(keywords.get("metric_key_prefix", "validation"))
        return evaluate(*arguments, **keywords)

    monkeypatch.setattr(SparseadTrainer, "evaluate", counted)
    record = train(tiny(tmp_path, glue_fixture, "protocol=clean"))
    result = record.result
    assert len(scored) == 3
    assert scored[-1] == "test"
    assert {split: said["examples"] for split, said in result["data"].items()} == {
        "train": 86,
        "validation": 10,
        "test": 32,
    }
    assert result["selection"] == result["history"][-1]["scores"]
    assert list(result["scores"]) == ["accuracy", "f1"]
    assert result["scores"]["accuracy"] * 32 == pytest.approx(
        round(result["scores"]["accuracy"] * 32)
    )
    assert record.objective == result["selection"]["accuracy"]
    assert record.main_score == result["scores"]["accuracy"]


@pytest.mark.slow
def test_training_from_python_leaves_the_process_as_it_was(
    tmp_path: Path, glue_fixture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> tuple[object, ...]:
        verbosity = transformers.logging.get_verbosity()
        return gc.get_freeze_count(), signal.getsignal(signal.SIGINT), verbosity, [*sys.argv]

    monkeypatch.setattr(allocator, "keep_freed_memory", None)
    transformers.logging.set_verbosity_info()
    before = state()
    train(tiny(tmp_path, glue_fixture, "protocol.epochs=1"))
    assert state() == before
    transformers.logging.set_verbosity_warning()


@pytest.mark.slow
def test_a_regression_is_scored_by_its_correlations(tmp_path: Path, glue_fixture: Path) -> None:
    request = ask_for(
        "backbone=tiny-bert",
        "task=demo_stsb",
        "task.limit=48",
        f"outputs={tmp_path}",
        "device=cpu",
        "protocol.epochs=1",
    )
    result = train(request).result
    assert list(result["scores"]) == ["pearson", "spearmanr"]
    assert result["data"]["train"]["numbers"]["mean"] > 0


@pytest.mark.slow
def test_full_fine_tuning_changes_the_backbone_and_an_adapter_does_not(
    tmp_path: Path, glue_fixture: Path
) -> None:
    full = train(tiny(tmp_path, glue_fixture, "adapter=full"))
    assert full.result["parameters"]["nominal"] == 1
    assert full.result["sparsity"]["total"] == 0
    adapter = train(tiny(tmp_path, glue_fixture, "pruner=none"))
    assert adapter.result["sparsity"]["removed"] == 0
    saved = load_sparse(adapter.folder / "adapter.safetensors").tensors
    modules = ("bert.pooler.dense", "classifier")
    adapter_head = {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}
    assert all("adapter." in name or name in adapter_head for name in saved)


def test_a_failure_leaves_nothing_behind(tmp_path: Path, glue_fixture: Path) -> None:
    with pytest.raises(SparseadError):
        train(tiny(tmp_path / "new" / "outputs", glue_fixture, "adapter.init=zero_up"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_probe_scores_zero_initialised_adapters(tmp_path: Path, glue_fixture: Path) -> None:
    request = tiny(tmp_path, glue_fixture, "adapter.init=zero_up", "pruner.probe=true")
    assert train(request).result["sparsity"]["realised"] == pytest.approx(0.4, abs=1e-4)


def test_methods_share_the_head_the_adapter_and_the_order(glue_fixture: Path) -> None:
    from transformers import AutoModelForSequenceClassification as Head

    from sparsead.adapters.contract import ADAPTERS
    from sparsead.backbones.loading import load_backbone

    spec = tiny(Path("unused"), glue_fixture).spec
    states = []
    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        model = load_backbone(spec.backbone).model(Head, {"num_labels": 2}, spec.seed)
        adapter = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)()
        states.append(adapter.insert(model, spec.seed).trained_state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_scores_of_weights_and_predictions_are_deterministic_too(
    tmp_path: Path, glue_fixture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = sys.modules["sparsead.train"]
    found = {}

    def note(phase: str) -> None:
        work = getattr(module, phase)

        def noted(*arguments: Any) -> Any:
            found[phase] = torch.are_deterministic_algorithms_enabled()
            return work(*arguments)

        monkeypatch.setattr(module, phase, noted)

    for phase in ("prune", "fit", "score", "save"):
        note(phase)
    # Only a run on CUDA may ask for them; torch uses them on a CPU as well.
    asked = partial(module.deterministic_algorithms, True)
    monkeypatch.setattr(module, "deterministic_algorithms", lambda wanted, device: asked("cuda"))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    train(tiny(tmp_path, glue_fixture, "protocol.epochs=1"))
    assert found == {"prune": True, "fit": True, "score": True, "save": False}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_cuda_keeps_the_removed_weights_at_zero(
    tmp_path: Path, glue_fixture: Path
) -> None:
    record = train(tiny(tmp_path, glue_fixture, "device=cuda"))
    saved = load_sparse(record.folder / "adapter.safetensors").tensors
    zeros = sum(int((saved[name] == 0).sum()) for name in record.result["sparsity"]["by_tensor"])
    assert zeros == record.result["sparsity"]["removed"]
