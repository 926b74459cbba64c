"""Every method against the package `adapters`: outputs and gradients that it computed.

`scripts/make_equality_fixtures.py` made the expected values in an environment of that package.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.contract import ADAPTERS, Adapter
from sparsead.adapters.fusion import Fusion

FIXTURES = Path(__file__).parents[1] / "data" / "equality"
HOULSBY = {"bottleneck": 4, "sites": ["attention_output", "ffn_output"]}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "houlsby": ("bottleneck", {**HOULSBY, "scale": 0.5}),
    "houlsby-norm-after": (
        "bottleneck",
        {**HOULSBY, "activation": "swish", "layer_norm": "after"},
    ),
    "pfeiffer": ("pfeiffer", {"bottleneck": 4, "activation": "gelu"}),
    "pfeiffer-norm-before": ("pfeiffer", {"bottleneck": 4, "layer_norm": "before"}),
    "parallel": ("parallel", {"bottleneck": 4}),
    "lora": ("lora", {"bottleneck": 3, "sites": ["query", "value"], "alpha": 6}),
    "prefix": ("prefix", {"bottleneck": 3}),
    "mam": ("mam", {"bottleneck": 4}),
    "fusion": ("fusion", {}),
}
ATTENTIONS = ("sdpa", "eager")


def backbone(architecture: str, attention: str) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """Return the tiny model with the fixture's weights, and the fixture's other tensors."""
    file = FIXTURES / f"{architecture}.safetensors"
    with safe_open(file, framework="pt") as opened:
        size = json.loads(opened.metadata()["size"])
    tensors = load_file(file)
    config = AutoConfig.for_model(architecture, **size)
    model = AutoModel.from_config(config, attn_implementation=attention)
    weights = {n.removeprefix("weight."): t for n, t in tensors.items() if n.startswith("weight.")}
    missing = model.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys
    return model.eval(), {n: t for n, t in tensors.items() if not n.startswith("weight.")}


def build(method: str) -> Adapter:
    name, options = METHODS[method]
    if method == "fusion":
        # The fixture holds the weights of the single-task adapters too.
        options = {"fusion": {"adapters": 2 * [{"bottleneck": 4}], "prune": "qk"}}
    return ADAPTERS.bind(name, options)()


def part(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {n.removeprefix(kind + "."): t for n, t in tensors.items() if n.startswith(kind + ".")}


@torch.no_grad()
def copy_weights(adapted: AdaptedModel, weights: dict[str, Tensor]) -> None:
    assert set(weights) == {*adapted.adapter, *adapted.frozen}
    for name, tensor in weights.items():
        adapted.model.get_parameter(name).copy_(tensor)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(
    ("method", "architecture"),
    [
        (method, architecture)
        for architecture in ("bert", "roberta", "bart", "t5")
        for method in METHODS
        if (FIXTURES / f"{architecture}-{method}.safetensors").is_file()
    ],
)
def test_outputs_and_all_gradients_are_those_of_the_package_adapters(
    method: str, architecture: str, attention: str
) -> None:
    model, given = backbone(architecture, attention)
    plain = model(**part(given, "input")).last_hidden_state
    adapted = build(method).insert(model, 1)
    expected = load_file(FIXTURES / f"{architecture}-{method}.safetensors")
    copy_weights(adapted, part(expected, "adapter"))
    model.requires_grad_(True)
    state = model(**part(given, "input")).last_hidden_state
    assert not torch.allclose(state, plain, rtol=0, atol=1e-2)
    torch.testing.assert_close(state, expected["state"], rtol=0, atol=1e-5)
    (state * given["probe"]).sum().backward()
    gradients = part(expected, "gradient")
    assert max(gradient.abs().max() for gradient in gradients.values()) > 0.1
    for name, gradient in gradients.items():
        ours = model.get_parameter(name).grad
        assert ours is not None
        torch.testing.assert_close(ours, gradient, rtol=1e-5, atol=1e-5)
    if method == "fusion":
        fusions = [module for module in model.modules() if isinstance(module, Fusion)]
        total = torch.stack([fusion.regulariser() for fusion in fusions]).sum()
        torch.testing.assert_close(total, expected["regulariser"])
