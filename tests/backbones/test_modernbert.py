"""ModernBERT with adapters against an independent implementation: windows, gates and sites."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from composing import compose
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.loading import load_backbone

WINDOW = 4  # tokens to either side, half of local_attention in conf/backbone/tiny-modernbert.yaml
THETA = {True: 10_000.0, False: 160_000.0}
TEXTS = ["one text that is far longer than the window of the second layer", "a short text"]


def with_adapter(adapter: str, *overrides: str) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """Return a model whose weights are all large enough to affect the output."""
    spec = compose("backbone=tiny-modernbert", f"adapter={adapter}", *overrides)
    loaded = load_backbone(spec.backbone)
    model = loaded.model(AutoModelForSequenceClassification, {"num_labels": 2}, seed=1)
    ADAPTERS.bind(spec.adapter.method, spec.adapter.options)().insert(model, 1)
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=draws)
    return model.eval(), dict(loaded.tokenizer(TEXTS, padding=True, return_tensors="pt"))


def bottleneck(module: Any, x: Tensor) -> Tensor:
    adapter = module.adapter
    hidden = F.relu(F.linear(x, adapter.down.weight, adapter.down.bias))
    change: Tensor = adapter.scale * F.linear(hidden, adapter.up.weight, adapter.up.bias)
    return change


def linear(module: Any, x: Tensor, lora: bool) -> Tensor:
    """Return W x, with LoRA W x + (alpha / r) B A x."""
    y: Tensor = x @ module.weight.T
    if lora:
        down, up = module.adapter.lora_A.weight, module.adapter.lora_B.weight
        y = y + module.adapter.scale * x @ down.T @ up.T
    return y


def turned(states: Tensor, theta: float) -> Tensor:
    """Rotate (batch, heads, tokens, width) by position, as Su et al., 2021 (arXiv:2104.09864)."""
    half = states.shape[-1] // 2
    angles = torch.arange(states.shape[2])[:, None] * theta ** (-torch.arange(half) / half)
    one, other = states.split(half, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1)


def attention(attn: Any, x: Tensor, true: Tensor, windowed: bool, adapter: str) -> Tensor:
    query, key, value = (
        part.unflatten(-1, (4, 8)).transpose(1, 2) for part in (x @ attn.Wqkv.weight.T).chunk(3, -1)
    )
    query, key = turned(query, THETA[windowed]), turned(key, THETA[windowed])
    places = torch.arange(x.shape[1])
    near = (places[:, None] - places).abs() <= (WINDOW if windowed else len(places))
    seen = near & true[:, None, None, :]
    if adapter in ("prefix", "mam"):
        own = (
            attn.adapter.parameter_scale * each for each in (attn.adapter.key, attn.adapter.value)
        )
        keys, values = (
            p.unflatten(-1, (4, 8)).transpose(0, 1).expand(len(x), -1, -1, -1) for p in own
        )
        key, value = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
        seen = F.pad(seen, (keys.shape[2], 0), value=True)
    scores = (query @ key.transpose(2, 3) / 8**0.5).masked_fill(~seen, -torch.inf)
    context = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
    return linear(attn.Wo, context, adapter == "lora")


def written_out(model: Any, batch: dict[str, Tensor], adapter: str) -> Tensor:
    base, true = model.model, batch["attention_mask"].bool()
    x = base.embeddings(batch["input_ids"])
    for number, layer in enumerate(base.layers):
        change = attention(layer.attn, layer.attn_norm(x), true, number > 0, adapter)
        if adapter == "houlsby":
            change = change + bottleneck(layer.attn.out_drop, change)
        x = x + change
        read = layer.mlp_norm(x)
        activated, gate = linear(layer.mlp.Wi, read, adapter == "lora").chunk(2, dim=-1)
        change = linear(layer.mlp.Wo, F.gelu(activated) * gate, adapter == "lora")
        if adapter == "houlsby":
            change = change + bottleneck(layer.mlp.Wo, change)
        if adapter in ("parallel", "mam"):
            change = change + bottleneck(layer.mlp.Wo, read)
        x = x + change
        if adapter == "pfeiffer":
            x = x + bottleneck(layer, x)
    states: Tensor = base.final_norm(x)
    return states


@pytest.mark.slow
@pytest.mark.parametrize(
    ("adapter", "overrides"),
    [
        ("houlsby", []),
        ("pfeiffer", []),
        ("parallel", []),
        ("prefix", ["adapter.bottleneck=3"]),
        ("mam", ["adapter.bottleneck=3"]),
        ("lora", ["adapter.sites=[attention_projection,ffn_input,ffn_projection]"]),
        ("full", []),
    ],
)
@torch.no_grad()
def test_the_hidden_states_are_those_of_the_layers_written_out(
    adapter: str, overrides: list[str]
) -> None:
    model, batch = with_adapter(adapter, *overrides)
    assert batch["input_ids"].shape[1] > 4 * WINDOW
    states = model.model(**batch).last_hidden_state
    true = batch["attention_mask"].bool()
    expected = written_out(model, batch, adapter)
    torch.testing.assert_close(states[true], expected[true], rtol=0, atol=1e-4)
