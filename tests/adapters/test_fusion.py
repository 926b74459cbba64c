"""AdapterFusion: what it loads, how it starts, and what training adds to the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from composing import compose
from sparsead.adapters.accounting import count_adapter_costs
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.fusion import Fusion, FusionAdapter
from sparsead.adapters.pfeiffer import PfeifferAdapter
from sparsead.errors import ConfigError
from sparsead.pruning.storage import save_sparse
from sparsead.runs.identity import compute_identity, compute_setting
from sparsead.runs.record import write_result
from synthetic import plain_result
from tiny_models import tiny_classifier

PFEIFFER: dict[str, Any] = {"bottleneck": 4, "scale": 0.5}
PLACE = "bert.encoder.layer.1.output.LayerNorm.adapter"


def batch() -> dict[str, Tensor]:
    return {"input_ids": torch.tensor([[2, 7, 8, 3], [2, 9, 4, 3]]), "labels": torch.tensor([0, 1])}


def stage_one(folder: Path, seed: int = 1) -> PreTrainedModel:
    """Write a run's weights, half of each matrix zero, and return its model."""
    adapted = PfeifferAdapter(**PFEIFFER).insert(tiny_classifier(), seed)
    masks = {}
    with torch.no_grad():
        for name in adapted.prunable:
            weight = adapted.model.get_parameter(name)
            weight[:, ::2] = 0
            masks[name] = (weight != 0).numpy()
    folder.mkdir()
    tensors = {name: tensor.numpy() for name, tensor in adapted.trained_state().items()}
    result = plain_result()
    write_result(folder, result, "")
    save_sparse(folder / "adapter.safetensors", tensors, masks, {"identity": result["identity"]})
    return adapted.model


def fused(*folders: Path, prune: str | None = None, backbone: str = "tiny-bert") -> AdaptedModel:
    adapters = [PFEIFFER for _ in folders]
    options = {"sources": [str(f) for f in folders], "adapters": adapters, "prune": prune}
    return FusionAdapter(fusion=options).insert(tiny_classifier(backbone), seed=1)


def test_one_source_fused_starts_nearly_as_that_source_alone(tmp_path: Path) -> None:
    source = stage_one(tmp_path / "a")
    adapted = fused(tmp_path / "a")
    model = adapted.model.eval()
    weight = model.get_parameter(f"{PLACE}.tasks.0.down.weight")
    assert torch.equal(weight, source.get_parameter(f"{PLACE}.down.weight"))
    assert not weight.requires_grad
    head = source.get_submodule("classifier").state_dict()
    model.get_submodule("classifier").load_state_dict(head)
    plain = tiny_classifier()
    logits = [m(**batch()).logits for m in (model, source, plain)]
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-6)
    assert not torch.equal(logits[1], logits[2])


def test_training_adds_the_regulariser_and_evaluation_does_not(tmp_path: Path) -> None:
    stage_one(tmp_path / "a")
    model = fused(tmp_path / "a").model
    with torch.no_grad():
        model.get_parameter(f"{PLACE}.value.weight").add_(0.1)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    evaluated = model.eval()(**batch()).loss
    trained = model.train()(**batch()).loss
    expected = 0.01 * (32 * 32 * 0.1**2)  # the other layer's value is 1e-6 from the identity
    torch.testing.assert_close(trained - evaluated, torch.tensor(expected), rtol=1e-3, atol=1e-5)
    trained.backward()
    assert model.get_parameter(f"{PLACE}.tasks.0.up.weight").grad is None


def test_what_trains_is_the_fusion_and_the_sources_count_by_what_is_left(tmp_path: Path) -> None:
    for seed, task in enumerate("ab"):
        stage_one(tmp_path / task, seed)
    dense, pruned = (fused(tmp_path / "a", tmp_path / "b", prune=prune) for prune in (None, "qk"))
    assert dense.prunable == ()
    assert len(pruned.prunable) == 4
    assert all(n.endswith(("query.weight", "key.weight")) for n in pruned.prunable)
    counts = count_adapter_costs(dense, removed=0, stored_bytes=0)
    fusion = 2 * (3 * 32 * 32 + 2 * 32)
    sources = 2 * 2 * (32 * 4)  # half of down and up; biases start at 0
    assert counts["adapter"] == fusion + sources
    assert counts["trainable_nonzero"] == fusion + counts["head"]
    assert len(dense.frozen) == 2 * 2 * 4
    assert sum(isinstance(module, Fusion) for module in dense.model.modules()) == 2


@pytest.mark.parametrize("sources", [1, 4])
def test_flops_count_keys_and_values_once_for_each_source(sources: int) -> None:
    options = {"adapters": [PFEIFFER] * sources}
    adapted = FusionAdapter(fusion=options).insert(tiny_classifier(), seed=1)
    tokens = batch()["input_ids"]
    counts = []
    for model in (adapted.model.eval(), tiny_classifier()):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(tokens)
        counts.append(counter.get_total_flops())
    # a key with a query, and the weights with the values, in both layers: products of no matrix
    between = 2 * 2 * 2 * sources * 32
    added = count_adapter_costs(adapted, removed=0, stored_bytes=0)["added_flops_per_token"]
    assert counts[0] - counts[1] == tokens.numel() * (added + between)


@pytest.mark.slow
def test_a_run_is_told_by_its_sources_content_and_not_by_their_folders(tmp_path: Path) -> None:
    def told(folder: Path) -> str:
        return compute_identity(compose("adapter=fusion", f"adapter.fusion.sources=[{folder}]"))

    for name, seed in (("a", 1), ("same", 1), ("other", 2)):
        stage_one(tmp_path / name, seed)
    assert told(tmp_path / "a") == told(tmp_path / "same") != told(tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": []}, "name finished runs of adapter=pfeiffer, or with adapter.fusion.tasks"),
        ({"adapters": [PFEIFFER], "prune": "kq"}, "did you mean qk"),
        ({"source": ["a"]}, "did you mean adapter.fusion.sources"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FusionAdapter(fusion=options)


def test_a_source_without_weights_for_the_backbone_is_named(tmp_path: Path) -> None:
    stage_one(tmp_path / "a")
    with pytest.raises(ConfigError, match=r"has no .* trained in another backbone"):
        fused(tmp_path / "a", backbone="tiny-roberta")
    with pytest.raises(ConfigError, match=r"adapter\.fusion\.sources=.*none"):
        fused(tmp_path / "none")


def test_frozen_adapters_kept_in_bf16_are_stored_in_fp32(tmp_path: Path) -> None:
    stage_one(tmp_path / "a")
    adapted = fused(tmp_path / "a")
    for name in adapted.frozen:
        parameter = adapted.model.get_parameter(name)
        parameter.data = parameter.data.bfloat16()
    assert {tensor.dtype for tensor in adapted.trained_state().values()} == {torch.float32}


def test_seeds_that_fuse_runs_of_their_own_seed_share_a_setting(tmp_path: Path) -> None:
    def fused(seed: int, source_setting: str) -> str:
        folder = tmp_path / f"{source_setting}-{seed}"
        folder.mkdir()
        (folder / "adapter.safetensors").write_bytes(bytes([seed]))
        write_result(folder, plain_result(seed=seed, setting=source_setting), "")
        sources = f"adapter.fusion.sources=[{folder}]"
        return compute_setting(compose("adapter=fusion", sources, f"seed={seed}"))

    assert fused(1, "a") == fused(2, "a") != fused(1, "b")
