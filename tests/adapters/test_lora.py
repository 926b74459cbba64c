"""LoRA against peft's, weight for weight, and against the counts of its paper."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from composing import compose
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.lora import LoRAAdapter
from sparsead.adapters.merging import merge
from sparsead.backbones import dropout
from sparsead.errors import ConfigError
from tiny_models import labelled_batch, tiny_classifier, weightless_classifier

BACKBONES = ["tiny-bert", "tiny-roberta", "tiny-bart"]
LAST_LINEARS = ["attention_projection", "ffn_input", "ffn_projection"]
LORA = LoRAAdapter(bottleneck=4, sites=["query", "value"], alpha=6)


@torch.no_grad()
def randomised(adapted: AdaptedModel) -> PreTrainedModel:
    """Draw A and B so large that they change the logits by more than rounding."""
    draws = torch.Generator().manual_seed(3)
    for name in adapted.adapter:
        adapted.model.get_parameter(name).normal_(0, 0.3, generator=draws)
    return adapted.model


def as_peft(
    ours: PreTrainedModel, backbone: str, targets: list[str], dropout: float = 0.0
) -> peft.PeftModel:
    """Return the same backbone with peft's LoRA, and the weights of `ours` in all of it."""
    config = peft.LoraConfig(
        r=LORA.bottleneck,
        lora_alpha=int(LORA.alpha),
        target_modules=targets,
        lora_dropout=dropout,
    )
    theirs = peft.get_peft_model(tiny_classifier(backbone), config)
    layers = {name for name, module in ours.named_modules() if hasattr(module, "adapter")}
    missing = theirs.load_state_dict(
        {peft_name(name, layers): tensor for name, tensor in ours.state_dict().items()}
    )
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    return theirs.eval()


def peft_name(name: str, layers: set[str]) -> str:
    module, _, leaf = name.rpartition(".")
    if module in layers:
        return f"base_model.model.{module}.base_layer.{leaf}"
    name = name.replace(".adapter.lora_", ".lora_")
    return "base_model.model." + name.replace("lora_A.", "lora_A.default.").replace(
        "lora_B.", "lora_B.default."
    )


def gradients(model: torch.nn.Module) -> dict[str, Tensor | None]:
    model.requires_grad_(True)
    model(**labelled_batch()).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "sites", "targets"),
    [
        ("tiny-bert", ["query", "value"], ["query", "value"]),
        ("tiny-bert", ["query", "key", "value"], ["query", "key", "value"]),
        ("tiny-roberta", ["query", "value"], ["query", "value"]),
        ("tiny-bart", ["query", "value"], ["q_proj", "v_proj"]),
        ("tiny-bert", ["attention_projection"], ["attention.output.dense"]),
        ("tiny-bert", ["value", *LAST_LINEARS], ["value", "intermediate.dense", "output.dense"]),
        ("tiny-bart", ["key", "ffn_output"], ["k_proj", "fc2"]),
        ("tiny-bart", ["ffn_input", "ffn_projection"], ["fc1", "fc2"]),
    ],
)
def test_logits_and_all_gradients_are_those_of_peft(
    backbone: str, sites: list[str], targets: list[str]
) -> None:
    ours = randomised(replace(LORA, sites=sites).insert(tiny_classifier(backbone), seed=1))
    theirs = as_peft(ours, backbone, targets)
    plain = tiny_classifier(backbone)(**labelled_batch()).logits
    logits = ours(**labelled_batch()).logits
    assert not torch.allclose(logits, plain, rtol=0, atol=1e-3)
    torch.testing.assert_close(logits, theirs(**labelled_batch()).logits, rtol=0, atol=1e-5)
    layers = {name for name, module in ours.named_modules() if hasattr(module, "adapter")}
    expected = gradients(theirs)
    for name, gradient in gradients(ours).items():
        reference = expected.pop(peft_name(name, layers))
        assert (gradient is None) == (reference is None)
        if gradient is not None:
            torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-5)
    assert not expected


def test_dropout_is_on_the_input_of_a_as_in_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropout, "drop", functional.dropout)  # the same draws as there
    ours = randomised(replace(LORA, dropout=0.5).insert(tiny_classifier(), seed=1))
    theirs = as_peft(ours, "tiny-bert", ["query", "value"], dropout=0.5)
    logits = []
    for model in (ours.train(), theirs.train()):
        torch.manual_seed(5)
        logits.append(model(**labelled_batch()).logits)
    torch.testing.assert_close(*logits, rtol=0, atol=1e-5)
    assert not torch.allclose(logits[0], ours.eval()(**labelled_batch()).logits, rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_merged_is_the_plain_model_with_the_outputs_of_the_adapted_one(backbone: str) -> None:
    adapted = replace(LORA, dropout=0.5).insert(tiny_classifier(backbone), seed=1)
    model = randomised(adapted).eval()
    unmerged = model(**labelled_batch()).logits
    copied = copy.deepcopy(model)
    layers = merge(copied)
    assert len(layers) == len(adapted.adapter) / 2
    assert list(copied.state_dict()) == list(tiny_classifier(backbone).state_dict())
    assert not any(module._forward_hooks for module in copied.modules())
    torch.testing.assert_close(copied(**labelled_batch()).logits, unmerged, rtol=0, atol=1e-5)
    assert torch.equal(model(**labelled_batch()).logits, unmerged)
    assert merge(copied) == []


@pytest.mark.parametrize(
    ("backbone", "layers", "parameters"),
    [("roberta-base", 24, 294_912), ("bart-large", 72, 1_179_648)],  # 0.3 M in the paper's table 2
)
def test_the_parameters_are_counted(backbone: str, layers: int, parameters: int) -> None:
    spec, model = compose("adapter=lora").adapter, weightless_classifier(backbone)
    adapted = ADAPTERS.bind(spec.method, spec.options)().insert(model, 1)
    assert len(adapted.adapter) == 2 * layers
    assert sum(model.get_parameter(name).numel() for name in adapted.adapter) == parameters


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_zero_up_is_the_identity_at_the_start_and_bert_is_not(backbone: str) -> None:
    plain = tiny_classifier(backbone)(**labelled_batch()).logits
    zero_up, bert = tiny_classifier(backbone), tiny_classifier(backbone)
    replace(LORA, init="zero_up").insert(zero_up, seed=1)
    LORA.insert(bert, seed=1)
    assert torch.equal(zero_up(**labelled_batch()).logits, plain)
    assert not torch.equal(bert(**labelled_batch()).logits, plain)


def test_a_and_b_are_drawn_from_n_0_002() -> None:
    adapted = replace(LORA, bottleneck=256).insert(tiny_classifier(), seed=1)
    for name in adapted.adapter:
        tensor = adapted.model.get_parameter(name).detach()
        assert abs(tensor.mean()) < 1e-3
        assert tensor.std() == pytest.approx(0.02, rel=0.05)


def test_only_a_and_b_are_prunable_and_train_beside_the_head() -> None:
    model = tiny_classifier()
    adapted = LORA.insert(model, seed=1)
    layer = "bert.encoder.layer.0.attention.self.query.adapter"
    assert adapted.prunable[:2] == (f"{layer}.lora_A.weight", f"{layer}.lora_B.weight")
    assert [tuple(model.get_parameter(n).shape) for n in adapted.prunable[:2]] == [(4, 32), (32, 4)]
    assert adapted.prunable == adapted.adapter
    assert len(adapted.prunable) == 8
    assert {"classifier.weight", "classifier.bias"} <= set(adapted.head)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {*adapted.adapter, *adapted.head}


def test_the_start_depends_on_the_seed_alone() -> None:
    def state(seed: int, disturbance: int, sites: list[str]) -> dict[str, Tensor]:
        torch.manual_seed(disturbance)
        adapted = replace(LORA, sites=sites).insert(tiny_classifier(), seed=seed)
        return adapted.trained_state()

    first = state(1, 1, ["query", "value"])
    again = state(1, 2, ["value", "key", "query"])
    other = state(2, 1, ["query", "value"])
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert all(not torch.equal(other[n], t) for n, t in first.items() if "lora" in n)


def test_a_site_named_twice_is_adapted_once() -> None:
    once, twice = tiny_classifier(), tiny_classifier()
    replace(LORA, sites=["query"]).insert(once, seed=1)
    replace(LORA, sites=["query", "query"]).insert(twice, seed=1)
    assert torch.equal(once(**labelled_batch()).logits, twice(**labelled_batch()).logits)


@pytest.mark.parametrize(
    ("backbone", "site", "choice"),
    [
        (
            "tiny-bert",
            "layer",
            "choose from query, key, value, attention_projection, ffn_projection",
        ),
        ("tiny-gpt2", "attention_projection", "c_proj is a Conv1D; gpt2 has none at its sites"),
    ],
)
def test_a_site_that_is_not_linear_is_refused_with_those_that_are(
    backbone: str, site: str, choice: str
) -> None:
    with pytest.raises(ConfigError, match=f"adapter.sites={site}: .*{choice}"):
        replace(LORA, sites=[site]).insert(tiny_classifier(backbone), seed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": ["attention_output"]}, "LoRA needs linear layers"),
        ({"sites": ["querry"]}, "did you mean query"),
        ({"init": "zero"}, "did you mean zero_up"),
        ({"dropout": 1.0}, "adapter.dropout=1: must be"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(LORA, **options).insert(tiny_classifier(), seed=1)
