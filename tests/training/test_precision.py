"""What is computed in bf16 and what in fp32, and that pruning scores do not depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import sparsead.train as run
from composing import ask_for
from sparsead.adapters.fusion import FusionAdapter
from sparsead.adapters.lora import LoRAAdapter
from sparsead.pruning.storage import load_sparse
from sparsead.training import precision
from sparsead.training.precision import cast_frozen, resolve_precision
from tiny_models import tiny_classifier


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-t5", "tiny-llama"])
def test_frozen_weights_go_to_bf16_and_what_trains_and_norms_stay_fp32(backbone: str) -> None:
    model = tiny_classifier(backbone)
    adapted = LoRAAdapter(bottleneck=2, sites=["query"]).insert(model, seed=1)
    cast_frozen(adapted, "fp32")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    cast_frozen(adapted, "bf16")
    for name, parameter in model.named_parameters():
        kept = parameter.requires_grad or "norm" in name.lower()
        assert parameter.dtype is (torch.float32 if kept else torch.bfloat16), name


def test_the_adapters_that_a_fusion_combines_are_stored_as_they_were() -> None:
    options = {"adapters": [{"bottleneck": 4, "scale": 0.5}]}
    adapted = FusionAdapter(fusion=options).insert(tiny_classifier(), seed=1)
    before = adapted.trained_state()
    cast_frozen(adapted, "bf16")
    for name, tensor in adapted.trained_state().items():
        assert torch.equal(tensor, before[name]), name
    assert adapted.model.get_parameter("bert.encoder.layer.0.output.dense.weight").dtype is (
        torch.bfloat16
    )


@pytest.fixture
def asked_anew() -> Iterator[None]:
    precision.cpu_is_faster_in_bf16.cache_clear()
    yield
    precision.cpu_is_faster_in_bf16.cache_clear()


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize(
    ("has_instructions", "gain", "auto"),
    [(True, 2.0, "bf16"), (True, 1.0, "fp32"), (True, 0.6, "fp32"), (False, 2.0, "fp32")],
)
def test_auto_takes_bf16_on_a_cpu_only_where_its_instructions_are_fast(
    monkeypatch: pytest.MonkeyPatch, has_instructions: bool, gain: float, auto: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    seconds = {torch.float32: gain, torch.bfloat16: 1.0}
    monkeypatch.setattr(precision, "time_products", lambda *_: seconds)
    assert resolve_precision("auto", "cpu") == auto
    assert resolve_precision("fp32", "cpu") == "fp32"
    assert resolve_precision("bf16", "cpu") == "bf16"


def test_products_are_timed_in_each_precision() -> None:
    seconds = precision.time_products(torch.float32, torch.bfloat16)
    assert all(0 < each < 10 for each in seconds.values())


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["snip", "grasp"])
def test_masks_are_the_same_in_both_precisions(
    tmp_path: Path, glue_fixture: Path, pruner: str
) -> None:
    masks = {}
    for chosen in ("fp32", "bf16"):
        request = ask_for(
            "backbone=tiny-bert",
            "task=mrpc",
            f"task.path={glue_fixture}",
            f"outputs={tmp_path / chosen}",
            "device=cpu",
            "protocol.epochs=1",
            "protocol.gradient_checkpointing=true",
            f"pruner={pruner}",
            f"precision={chosen}",
        )
        record = run.train(request)
        assert record.result["environment"]["precision"] == chosen
        saved = load_sparse(record.folder / "adapter.safetensors").tensors
        names = record.result["sparsity"]["by_tensor"]
        masks[chosen] = {name: saved[name] != 0 for name in names}
    assert masks["fp32"].keys() == masks["bf16"].keys()
    disagreeing = sum(int((masks["fp32"][n] != m).sum()) for n, m in masks["bf16"].items())
    total = sum(mask.size for mask in masks["fp32"].values())
    assert disagreeing <= 1e-3 * total  # packed shapes round differently; bf16 scores would not fit


@pytest.mark.slow
def test_text_is_generated_with_the_weights_that_are_kept_in_bf16(tmp_path: Path) -> None:
    request = ask_for(
        *("backbone=tiny-bart", "task=demo_xsum", "task.limit=8", "protocol.epochs=1"),
        *("pruner=random", "precision=bf16", "device=cpu", f"outputs={tmp_path}"),
    )
    assert "rougeL" in run.train(request).result["scores"]
