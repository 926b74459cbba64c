"""DoRA against peft's, weight for weight, and against its definition."""

from __future__ import annotations

import copy
from dataclasses import replace

import peft
import pytest
import torch
from transformers import PreTrainedModel

from composing import compose
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.dora import DoRA, DoRAAdapter
from sparsead.adapters.lora import LoRAAdapter
from sparsead.adapters.merging import merge
from tiny_models import labelled_batch, tiny_classifier, weightless_classifier

DORA = DoRAAdapter(bottleneck=4, sites=["query", "value"], alpha=6)


@torch.no_grad()
def randomised(adapted: AdaptedModel) -> PreTrainedModel:
    """Draw A, B and m so that the direction and the length of each row differ from the start."""
    draws = torch.Generator().manual_seed(3)
    for name in adapted.adapter:
        parameter = adapted.model.get_parameter(name)
        if name in adapted.prunable:
            parameter.normal_(0, 0.3, generator=draws)
        else:
            parameter.mul_(1 + 9 * torch.rand(parameter.shape, generator=draws))
    return adapted.model


def as_peft(ours: PreTrainedModel) -> tuple[peft.PeftModel, dict[str, str]]:
    """Return the same backbone with peft's DoRA and our weights, and its names by ours."""
    config = peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=["query", "value"], lora_dropout=0.0, use_dora=True
    )
    theirs = peft.get_peft_model(tiny_classifier(), config)
    layers = {name for name, module in ours.named_modules() if hasattr(module, "adapter")}
    names = {name: peft_name(name, layers) for name in ours.state_dict()}
    state = {names[name]: tensor for name, tensor in ours.state_dict().items()}
    loaded = theirs.load_state_dict(state)
    assert not loaded.missing_keys
    assert not loaded.unexpected_keys
    return theirs.eval(), names


def peft_name(name: str, layers: set[str]) -> str:
    module, _, leaf = name.rpartition(".")
    if module in layers:
        return f"base_model.model.{module}.base_layer.{leaf}"
    name = name.replace(".adapter.magnitude", ".lora_magnitude_vector.default.weight")
    name = name.replace(".adapter.lora_", ".lora_").replace("lora_A.", "lora_A.default.")
    return "base_model.model." + name.replace("lora_B.", "lora_B.default.")


def test_logits_and_gradients_are_those_of_peft() -> None:
    adapted = DORA.insert(tiny_classifier(), seed=1)
    ours = randomised(adapted).eval()
    theirs, names = as_peft(ours)
    logits = ours(**labelled_batch()).logits
    torch.testing.assert_close(logits, theirs(**labelled_batch()).logits, rtol=0, atol=1e-5)
    for model in (ours, theirs):
        model(**labelled_batch()).loss.backward()
    for name in adapted.adapter:
        gradient = ours.get_parameter(name).grad
        assert gradient is not None
        assert gradient.abs().max() > 0
        reference = theirs.get_parameter(names[name]).grad
        torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-5)


def test_it_starts_as_lora_with_the_same_weights_and_differs_once_the_magnitude_does() -> None:
    lora = LoRAAdapter(**vars(DORA)).insert(tiny_classifier(), seed=1).model.eval()
    adapted = DORA.insert(tiny_classifier(), seed=1)
    started = adapted.model.eval()(**labelled_batch()).logits
    torch.testing.assert_close(started, lora(**labelled_batch()).logits, rtol=0, atol=1e-6)
    changed = randomised(adapted)(**labelled_batch()).logits
    assert not torch.allclose(changed, started, rtol=0, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("autocast", [False, True])
def test_the_factor_of_each_row_is_exact_also_under_autocast(autocast: bool) -> None:
    model = randomised(DORA.insert(tiny_classifier(), seed=1))
    layers = [module for module in model.modules() if isinstance(module, DoRA)]
    assert len(layers) == 4
    for dora in layers:
        (linear,) = dora.layer
        change = 6 / 4 * dora.lora_B.weight @ dora.lora_A.weight
        length = torch.linalg.vector_norm((linear.weight + change).double(), dim=1)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            factor = dora.factor()
        torch.testing.assert_close(factor.double(), dora.magnitude / length, rtol=1e-6, atol=0)


def test_merged_is_the_plain_model_with_the_outputs_of_the_adapted_one() -> None:
    model = randomised(replace(DORA, dropout=0.5).insert(tiny_classifier(), seed=1)).eval()
    unmerged = model(**labelled_batch()).logits
    copied = copy.deepcopy(model)
    assert len(merge(copied)) == 4
    assert list(copied.state_dict()) == list(tiny_classifier().state_dict())
    torch.testing.assert_close(copied(**labelled_batch()).logits, unmerged, rtol=0, atol=1e-5)
    assert torch.equal(model(**labelled_batch()).logits, unmerged)


def test_the_parameters_are_those_of_lora_and_one_magnitude_for_each_output() -> None:
    spec, model = compose("adapter=dora").adapter, weightless_classifier("roberta-base")
    adapted = ADAPTERS.bind(spec.method, spec.options)().insert(model, 1)
    count = {name: model.get_parameter(name).numel() for name in adapted.adapter}
    assert sum(count.values()) == 294_912 + 24 * 768
    assert sum(count[name] for name in adapted.prunable) == 294_912
