"""(IA)³ against peft's, weight for weight, and what a removed weight does."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from torch import Tensor

from pruning_cases import transformers_loss
from sparsead.adapters.accounting import count_adapter_costs
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.ia3 import IA3Adapter
from sparsead.adapters.merging import merge
from sparsead.errors import ConfigError
from sparsead.exchange.peft import to_factors
from sparsead.pruning.prune import prune
from tiny_models import labelled_batch, take_steps, tiny_classifier

SITES = ["key", "value", "ffn_projection"]
INNER = 64
"""Number of inner activations of tiny-bert's feed-forward layers, whose width is 32."""


def inserted(backbone: str = "tiny-bert") -> AdaptedModel:
    adapted = IA3Adapter(sites=SITES).insert(tiny_classifier(backbone), seed=1)
    draws = torch.Generator().manual_seed(3)
    for name in adapted.adapter:
        adapted.model.get_parameter(name).data.normal_(0, 0.3, generator=draws)
    return adapted


def as_peft(adapted: AdaptedModel) -> peft.PeftModel:
    """Return the same backbone with peft's (IA)³ and the factors of this model."""
    config = peft.IA3Config(
        target_modules=["key", "value", "output.dense"],
        feedforward_modules=["output.dense"],
        exclude_modules=r".*attention\.output\.dense",
    )
    theirs = peft.get_peft_model(tiny_classifier(), config)
    tensors = {name: tensor.numpy() for name, tensor in adapted.trained_state().items()}
    factors = {
        name.replace(".ia3_l", ".ia3_l.default"): torch.from_numpy(tensor)
        for name, tensor in to_factors(tensors).items()
    }
    loaded = theirs.load_state_dict(factors, strict=False)
    assert not loaded.unexpected_keys
    assert not [name for name in loaded.missing_keys if "ia3" in name]
    return theirs.eval()


def logits(model: torch.nn.Module) -> Tensor:
    found: Tensor = model.eval()(**labelled_batch()).logits
    return found


def test_logits_and_gradients_are_those_of_peft() -> None:
    adapted = inserted()
    ours, theirs = adapted.model, as_peft(adapted)
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=0, atol=1e-6)
    for model in (ours, theirs):
        transformers_loss(model, labelled_batch()).backward()
    names = {name: n for n, _ in theirs.named_parameters() for name in [n.replace(".default", "")]}
    for name in adapted.adapter:
        key = f"base_model.model.{name.replace('.adapter.change', '.ia3_l')}"
        theirs_gradient = theirs.get_parameter(names[key]).grad
        torch.testing.assert_close(ours.get_parameter(name).grad, theirs_gradient)


def test_it_has_a_weight_for_each_key_value_and_inner_activation() -> None:
    adapted = inserted()
    sizes = sorted(adapted.model.get_parameter(name).numel() for name in adapted.adapter)
    assert sizes == 4 * [32] + 2 * [INNER]
    assert adapted.prunable == adapted.adapter


def test_it_adds_one_multiplication_per_weight_and_token() -> None:
    counts = count_adapter_costs(inserted(), removed=0, stored_bytes=0)
    assert counts["added_flops_per_token"] == counts["adapter"] == 2 * (32 + 32 + INNER)


def test_a_removed_weight_leaves_its_activation_as_it_is() -> None:
    plain = logits(tiny_classifier()).detach()
    adapted = inserted()
    masks = prune(
        adapted.model,
        tensors=adapted.prunable,
        sparsity=0.4,
        batches=[labelled_batch()],
        loss=transformers_loss,
    )
    assert masks.removed == round(0.4 * (4 * 32 + 2 * INNER))
    assert not torch.equal(logits(adapted.model), plain)
    take_steps(adapted.model)
    for name, mask in masks.items():
        assert not adapted.model.get_parameter(name)[~mask].any()
        adapted.model.get_parameter(name).data.zero_()
    untrained = tiny_classifier().state_dict()
    adapted.model.load_state_dict({name: untrained[name] for name in adapted.head}, strict=False)
    assert torch.equal(logits(adapted.model), plain)


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-llama"])
def test_merged_it_computes_the_same(backbone: str) -> None:
    adapted = inserted(backbone)
    model = adapted.model.eval()
    merged = copy.deepcopy(model)
    with torch.no_grad():
        expected = logits(model)
        assert len(merge(merged)) == len(adapted.adapter)
        torch.testing.assert_close(logits(merged), expected, rtol=0, atol=1e-5)
    assert not any("adapter" in name for name, _ in merged.named_parameters())


def test_what_it_cannot_multiply_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"multiplies linear layers, and .* is a Conv1D"):
        IA3Adapter(sites=["ffn_projection"]).insert(tiny_classifier("tiny-gpt2"), 1)
    with pytest.raises(ConfigError, match=r"adapter\.init=ones: no such choice"):
        IA3Adapter(sites=SITES, init="ones")


@pytest.mark.parametrize(
    ("backbone", "sites"),
    [
        ("tiny-bert", ["key", "key"]),
        ("tiny-distilbert", ["attention_output", "attention_projection"]),
    ],
)
def test_a_layer_that_two_sites_name_is_multiplied_once(backbone: str, sites: list[str]) -> None:
    once, twice = (
        IA3Adapter(sites=given).insert(tiny_classifier(backbone), seed=1)
        for given in (sites[1:], sites)
    )
    assert twice.adapter == once.adapter
    assert twice.prunable == once.prunable
    assert torch.equal(logits(twice.model), logits(once.model))
    merge(twice.model)
    torch.testing.assert_close(logits(twice.model), logits(once.model), rtol=0, atol=1e-6)


def test_a_layer_is_not_multiplied_at_its_input_and_its_output() -> None:
    with pytest.raises(ConfigError, match=r"ffn_output and ffn_projection are the same layer"):
        IA3Adapter(sites=["ffn_output", "ffn_projection"]).insert(tiny_classifier("tiny-llama"), 1)
