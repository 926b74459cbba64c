"""Houlsby's adapter against the sublayer written out by hand, and against the paper's counts."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from composing import compose
from sparsead.adapters.accounting import count_adapter_costs
from sparsead.adapters.bottleneck import Bottleneck, BottleneckAdapter, BottleneckOptions
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.configs import architecture_config
from sparsead.backbones.loading import count_parameters
from sparsead.errors import ConfigError
from sparsead.pruning.masks import Masks
from sparsead.pruning.prune import prune
from tiny_models import tiny_classifier, weightless_classifier

HOULSBY = BottleneckAdapter(bottleneck=8, sites=["attention_output", "ffn_output"])


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-roberta"])
def test_the_adapter_stands_before_the_residual_of_both_sublayers(backbone: str) -> None:
    model = tiny_classifier(backbone)
    replace(HOULSBY, scale=0.5).insert(model, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    layer: Any = model.base_model.get_submodule("encoder.layer.0")
    states = torch.randn(2, 5, 32)

    def bottleneck(x: torch.Tensor, adapter: Bottleneck) -> torch.Tensor:
        hidden = torch.relu(x @ adapter.down.weight.T + adapter.down.bias)
        return x + 0.5 * (hidden @ adapter.up.weight.T + adapter.up.bias)

    attention, output = layer.attention.output, layer.output
    attended = layer.attention.self(states)[0]
    change = bottleneck(attention.dense(attended), attention.dropout.adapter)
    middle = attention.LayerNorm(change + states)
    change = bottleneck(output.dense(layer.intermediate(middle)), output.dropout.adapter)
    expected = output.LayerNorm(change + middle)
    torch.testing.assert_close(layer(states), expected, rtol=0, atol=1e-6)


def test_bart_gets_adapters_after_every_attention_and_feed_forward() -> None:
    model = tiny_classifier("tiny-bart")
    adapted = HOULSBY.insert(model, seed=1)
    sites = {name.rsplit(".adapter.", 1)[0] for name in adapted.adapter}
    layers = ("encoder.layers.0", "encoder.layers.1", "decoder.layers.0", "decoder.layers.1")
    expected = {
        f"model.{layer}.{site}" for layer in layers for site in ("self_attn.out_proj", "fc2")
    }
    expected |= {f"model.decoder.layers.{i}.encoder_attn.out_proj" for i in (0, 1)}
    assert sites == expected


def test_a_site_of_another_width_is_refused_where_layers_are_conv1d() -> None:
    with pytest.raises(ConfigError, match="gives 128 values, and a bottleneck takes 32"):
        replace(HOULSBY, sites=["ffn_input"]).insert(tiny_classifier("tiny-gpt2"), seed=1)


def test_zero_up_is_the_identity_at_the_start_and_bert_is_not() -> None:
    tokens = {"input_ids": torch.tensor([[2, 7, 8, 3]])}
    plain = tiny_classifier()(**tokens).logits
    zero_up, bert = tiny_classifier(), tiny_classifier()
    replace(HOULSBY, init="zero_up").insert(zero_up, seed=1)
    HOULSBY.insert(bert, seed=1)
    assert torch.equal(zero_up(**tokens).logits, plain)
    assert not torch.equal(bert(**tokens).logits, plain)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["houlsby", "pfeiffer", "parallel", "mam"])
def test_every_key_of_a_bottleneck_is_heard(method: str) -> None:
    tokens = {"input_ids": torch.tensor([[2, 7, 8, 3]])}

    def logits(*options: str, train: bool = False) -> torch.Tensor:
        spec = compose(f"adapter={method}", *(f"adapter.{option}" for option in options)).adapter
        model = tiny_classifier().train(train)
        ADAPTERS.bind(spec.method, spec.options)().insert(model, 1)
        torch.manual_seed(1)
        found: torch.Tensor = model(**tokens).logits.detach()
        return found

    keys = ("activation=tanh", "scale=3", "layer_norm=before", "layer_norm=after", "init=zero_up")
    heard = [logits(), logits("bottleneck=5"), *(logits(key) for key in keys)]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(heard, 2))
    assert not torch.equal(logits(train=True), logits("dropout=0.5", train=True))


def test_weights_are_drawn_from_n_0_002_and_biases_are_zero() -> None:
    model = tiny_classifier()
    adapted = replace(HOULSBY, bottleneck=256).insert(model, seed=1)
    for name in adapted.adapter:
        tensor = model.get_parameter(name).detach()
        if name.endswith(".bias"):
            assert not tensor.any()
        else:
            assert abs(tensor.mean()) < 1e-3
            assert tensor.std() == pytest.approx(0.02, rel=0.05)


def test_only_adapter_and_head_train_and_only_matrices_are_prunable() -> None:
    model = tiny_classifier()
    adapted = HOULSBY.insert(model, seed=1)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {*adapted.adapter, *adapted.head}
    head = {"classifier.weight", "classifier.bias"}
    assert set(adapted.head) == head | {f"bert.pooler.dense.{kind}" for kind in ("weight", "bias")}
    assert all(name.endswith((".down.weight", ".up.weight")) for name in adapted.prunable)
    assert len(adapted.prunable) == 8


def test_backbone_norms_train_all_layer_norms_of_the_backbone() -> None:
    model = tiny_classifier()
    adapted = replace(HOULSBY, backbone_norms="trained").insert(model, seed=1)
    norms = {name for name, _ in model.named_parameters() if ".LayerNorm." in name}
    assert len(norms) == 2 * 5  # of the embeddings, and two in each of two layers
    bottlenecks = {*HOULSBY.insert(tiny_classifier(), seed=1).adapter}
    assert {*adapted.adapter} == norms | bottlenecks
    assert not norms & {*adapted.prunable}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {*adapted.adapter, *adapted.head}
    t5 = replace(HOULSBY, backbone_norms="trained").insert(tiny_classifier("tiny-t5"), seed=1)
    assert sum("layer_norm" in name for name in t5.adapter) == 12  # RMS norms, which have no bias


def test_a_frozen_head_is_stored_but_neither_trains_nor_counts() -> None:
    trained, frozen = (
        replace(HOULSBY, head=head).insert(tiny_classifier(), seed=1)
        for head in ("trained", "frozen")
    )
    assert frozen.head == trained.head
    assert frozen.stored == trained.stored
    assert not any(frozen.model.get_parameter(name).requires_grad for name in frozen.head)
    ours, theirs = (count_adapter_costs(a, removed=3, stored_bytes=1) for a in (frozen, trained))
    assert ours["trainable_nonzero"] == ours["adapter"] - 3
    assert theirs["trainable_nonzero"] == ours["adapter"] - 3 + ours["head"]


@pytest.mark.parametrize("key", ["backbone_norms", "head"])
def test_what_trains_is_frozen_or_trained(key: str) -> None:
    with pytest.raises(ConfigError, match=f"adapter.{key}='?trainde'?.*did you mean trained"):
        ADAPTERS.bind("bottleneck", {"bottleneck": 8, "sites": [], key: "trainde"})()


def test_houlsby_authors_is_the_layer_of_the_authors_published_code() -> None:
    """Against petl_factory.Adapter_Layer and where modeling_roberta calls it, written out."""
    spec = compose("adapter=houlsby_authors", "adapter.bottleneck=8").adapter
    assert spec.options["dropout"] == 0.1  # hidden_dropout_prob of BERT and RoBERTa
    model = tiny_classifier("tiny-roberta")
    adapted = ADAPTERS.bind(spec.method, spec.options)().insert(model, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {*adapted.adapter}
    assert not any("classifier" in name or ".LayerNorm." in name for name in trained)

    def theirs(x: torch.Tensor, adapter: Bottleneck) -> torch.Tensor:
        normed = F.layer_norm(x, (32,), adapter.norm.weight, adapter.norm.bias, 1e-5)
        down = torch.relu(normed @ adapter.down.weight.T + adapter.down.bias)
        down = adapter.dropout(down)
        added: torch.Tensor = down @ adapter.up.weight.T + adapter.up.bias
        return added + x

    layer: Any = model.base_model.get_submodule("encoder.layer.0")
    attention, output = layer.attention.output, layer.output
    states = torch.randn(2, 5, 32)
    for mode in (False, True):
        layer.train(mode)
        torch.manual_seed(2)
        # The adapter of the attention sublayer stands before its dropout, the other one behind it.
        attended = attention.dense.forward(layer.attention.self(states)[0])
        attended = attention.dropout(theirs(attended, attention.dense.adapter))
        middle = attention.LayerNorm(attended + states)
        dropped = output.dropout.forward(output.dense(layer.intermediate(middle)))
        expected = output.LayerNorm(theirs(dropped, output.dropout.adapter) + middle)
        torch.manual_seed(2)
        torch.testing.assert_close(layer(states), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "vocabulary", "bottleneck", "adapters", "parameters", "share"),
    [
        ("roberta-base", None, 64, 24, 2_379_264, 1.91),
        ("bert-base", None, 64, 24, 2_379_264, 2.17),
        ("bert-base", 28_996, 256, 24, 9_461_760, 8.74),  # BERT-base-cased
        ("bart-large", None, 512, 60, 63_006_720, 15.51),
    ],
)
def test_the_papers_parameter_shares(
    backbone: str,
    vocabulary: int | None,
    bottleneck: int,
    adapters: int,
    parameters: int,
    share: float,
) -> None:
    options = {} if vocabulary is None else {"vocab_size": vocabulary}
    model = weightless_classifier(backbone, **options)
    adapted = replace(HOULSBY, bottleneck=bottleneck).insert(model, seed=1)
    counts = count_adapter_costs(adapted, removed=0, stored_bytes=0)
    assert len(adapted.adapter) == 4 * adapters
    assert counts["adapter"] == parameters
    assert 100 * counts["nominal"] == pytest.approx(share, abs=0.005)


def test_the_share_counts_what_is_kept() -> None:
    model = weightless_classifier("roberta-base")
    adapted = replace(HOULSBY, bottleneck=64).insert(model, seed=1)
    whole = count_adapter_costs(adapted, removed=0, stored_bytes=0)
    pruned = count_adapter_costs(adapted, removed=round(0.4 * 2_359_296), stored_bytes=0)
    assert whole["adapter"] - round(0.4 * 2_359_296) == pruned["nominal"] * pruned["backbone"]
    assert whole["trainable_nonzero"] - whole["head"] == whole["adapter"]
    assert whole["added_flops_per_token"] == 2 * 2_359_296


def test_the_backbone_is_counted_with_its_pooler() -> None:
    config = architecture_config(compose("backbone=bert-base").backbone, {})
    assert count_parameters(config) == 109_482_240


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ("ffn_input", "ffn_input: .*intermediate.dense gives 64 values, and a bottleneck takes 32"),
        ("attention", "no such choice"),
        ("ffn_ouput", "did you mean ffn_output"),
    ],
)
def test_a_site_of_another_width_takes_no_bottleneck(site: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        BottleneckAdapter(bottleneck=8, sites=[site]).insert(tiny_classifier(), seed=1)


def gradients_and_outputs(
    module: nn.Module, inputs: torch.Tensor
) -> dict[str, torch.Tensor | None]:
    module.zero_grad()
    inputs = inputs.clone().requires_grad_()
    outputs = module(inputs)
    outputs.square().sum().backward()
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    return found | {"outputs": outputs.detach(), "inputs": inputs.grad}


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    units=st.integers(1, 70),
    share=st.floats(0, 1),
    options=st.sampled_from([{}, {"activation": "gelu"}, {"layer_norm": "before"}]),
    seed=st.integers(0, 9),
)
def test_units_without_output_are_left_out_and_nothing_changes(
    units: int, share: float, options: dict[str, Any], seed: int
) -> None:
    torch.manual_seed(seed)
    bottleneck = Bottleneck(12, BottleneckOptions(bottleneck=units, **options))
    without_output = torch.rand(units) < share
    kept = {"down.weight": torch.rand(units, 12) < 0.7, "up.weight": torch.rand(12, units) < 0.7}
    kept["up.weight"][:, without_output] = False
    inputs = torch.randn(5, 12)
    Masks(kept).enforce(bottleneck)
    computed, bottleneck.computed = bottleneck.computed, None
    expected = gradients_and_outputs(bottleneck, inputs)
    bottleneck.computed = computed
    torch.testing.assert_close(gradients_and_outputs(bottleneck, inputs), expected)
    needed = kept["up.weight"].any(0).nonzero().flatten().tolist()
    blocks = [size for size in range(0, units, 16) if size >= len(needed)]
    assert (computed is None) == (not blocks)
    if computed is not None:
        assert len(computed) == blocks[0]
        assert set(needed) <= set(computed.tolist())


def test_other_masks_compute_what_earlier_ones_left_out() -> None:
    plain, again = (Bottleneck(12, BottleneckOptions(bottleneck=32)) for _ in range(2))
    kept = torch.arange(32).expand(12, 32) < 8
    Masks({"up.weight": kept}).enforce(again)
    assert again.computed is not None
    assert len(again.computed) == 16
    for bottleneck in (plain, again):
        Masks({"up.weight": ~kept}).enforce(bottleneck)
    again.load_state_dict(plain.state_dict())
    inputs = torch.randn(5, 12)
    torch.testing.assert_close(again(inputs), plain(inputs))


def test_units_that_fall_in_a_model_are_left_out_of_its_steps() -> None:
    model = tiny_classifier()
    adapted = replace(HOULSBY, bottleneck=64).insert(model, seed=1)
    prune(model, tensors=adapted.prunable, sparsity=0.75, pruner="units", criterion="random")
    inserted = [module for module in model.modules() if isinstance(module, Bottleneck)]
    computed = [len(module.computed) for module in inserted if module.computed is not None]
    assert len(computed) == 4
    assert max(computed) <= 32
    assert "computed" not in " ".join(model.state_dict())
