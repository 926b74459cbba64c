"""Prefixes inside attention: against peft, in generation with a cache, and under GraSP."""

from __future__ import annotations

import copy
import math
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    BertLMHeadModel,
    DebertaV2Config,
    DebertaV2Model,
    PreTrainedModel,
)

from composing import compose
from pruning_cases import bert, flatten, scoring, token_batches, transformers_loss
from sparsead.adapters.mam import MAMAdapter
from sparsead.adapters.prefix import Prefix, PrefixAdapter
from sparsead.assembly.account import count_costs
from sparsead.backbones import sites
from sparsead.backbones.attention import attend_to_prefixes
from sparsead.backbones.loading import load_backbone
from sparsead.errors import ConfigError
from sparsead.pruning.contract import PRUNERS
from sparsead.pruning.grasp import grasp
from sparsead.pruning.prune import prune
from sparsead.pruning.scoring import undisturbed

LENGTH = 3


@torch.no_grad()
def randomised(model: PreTrainedModel, std: float = 0.5) -> PreTrainedModel:
    """Draw all parameters, the prefixes included, large enough to affect the output."""
    draws = torch.Generator().manual_seed(4)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            scale = 1.0 if ".adapter." in name else std
            parameter.normal_(0, scale, generator=draws)
    model.eval()
    return model


def decoder(attention: str = "sdpa") -> BertLMHeadModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=20,
        is_decoder=True,
    )
    model = BertLMHeadModel(config)
    model.set_attn_implementation(attention)
    model.eval()
    return model


def prefixes(model: PreTrainedModel) -> list[Prefix]:
    """Return the prefixes of a model, one per layer."""
    return [module for module in model.modules() if isinstance(module, Prefix)]


def bart(attention: str = "sdpa", name: str = "tiny-bart") -> PreTrainedModel:
    backbone = load_backbone(compose(f"backbone={name}").backbone)
    options = {"forced_eos_token_id": None, "attn_implementation": attention}
    model = backbone.model(AutoModelForSeq2SeqLM, options, seed=1)
    model.set_attn_implementation(attention)
    return model


def generate(model: PreTrainedModel, *inputs: Tensor, **arguments: Any) -> Any:
    """Generate; the types of `generate` in transformers do not fit the classes that have it."""
    untyped: Any = model
    return untyped.generate(*inputs, **arguments)


def sources() -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(5)
    tokens = torch.randint(5, 200, (3, 7), generator=draws)
    mask = torch.ones_like(tokens)
    mask[1, 4:] = 0
    return {"input_ids": tokens, "attention_mask": mask}


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_decoder_with_prefixes_is_that_of_peft(attention: str, padded: bool) -> None:
    ours = decoder(attention)
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=LENGTH)
    theirs = peft.get_peft_model(copy.deepcopy(ours), config).eval()
    PrefixAdapter(bottleneck=LENGTH).insert(ours, seed=1)
    randomised(ours)
    states = {n: t for n, t in ours.state_dict().items() if ".adapter." not in n}
    theirs.base_model.load_state_dict(states)
    positions = "bert.embeddings.position_embeddings.weight"
    prompt = theirs.get_parameter("prompt_encoder.default.embedding.weight")
    with torch.no_grad():
        # There a prefix takes positions; here it takes none.
        shifted = theirs.base_model.get_parameter(positions)
        shifted[LENGTH:] = states[positions][:-LENGTH]
        by_layer = prompt.view(LENGTH, 2, 2, 16)
        for layer, prefix in enumerate(prefixes(ours)):
            by_layer[:, layer, 0] = prefix.key
            by_layer[:, layer, 1] = prefix.value
    tokens = torch.randint(0, 30, (2, 6), generator=torch.Generator().manual_seed(2))
    mask = torch.tensor([[1] * 6, [1] * 6 if not padded else [1] * 4 + [0] * 2])
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": tokens}
    outputs = [model(**batch) for model in (ours, theirs)]
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits, rtol=0, atol=1e-5)
    for output in outputs:
        output.loss.backward()
    assert prompt.grad is not None
    gradients = prompt.grad.view(LENGTH, 2, 2, 16)
    assert len(prefixes(ours)) == 2
    for layer, prefix in enumerate(prefixes(ours)):
        torch.testing.assert_close(prefix.key.grad, gradients[:, layer, 0], rtol=0, atol=1e-5)
        torch.testing.assert_close(prefix.value.grad, gradients[:, layer, 1], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "attention"),
    [("tiny-bart", "sdpa"), ("tiny-bart", "eager"), ("tiny-t5", "sdpa"), ("tiny-t5", "eager")],
)
@pytest.mark.parametrize("beams", [1, 3])
def test_generation_with_a_cache_agrees_with_teacher_forcing(
    backbone: str, attention: str, beams: int
) -> None:
    model = bart(attention, backbone)
    PrefixAdapter(bottleneck=LENGTH).insert(model, seed=1)
    randomised(model, std=0.1)
    arguments: dict[str, Any] = {
        **sources(),
        "num_beams": beams,
        "min_new_tokens": 8,
        "max_new_tokens": 8,
        "do_sample": False,
        "length_penalty": 0.0,
        "output_scores": True,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    cached = generate(model, **arguments, use_cache=True)
    uncached = generate(model, **arguments, use_cache=False)
    assert torch.equal(cached.sequences, uncached.sequences)
    with torch.no_grad():
        forced = model(**sources(), decoder_input_ids=cached.sequences[:, :-1]).logits
    if beams == 1:
        torch.testing.assert_close(torch.stack(cached.logits, 1), forced, rtol=0, atol=1e-5)
        return
    chosen = cached.sequences[:, 1:, None]
    expected = forced.log_softmax(-1).gather(-1, chosen).squeeze(-1).sum(-1)
    torch.testing.assert_close(cached.sequences_scores, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("backbone", ["tiny-gpt2", "tiny-llama"])
def test_a_decoder_alone_generates_with_a_cache_as_it_is_trained(backbone: str) -> None:
    loaded = load_backbone(compose(f"backbone={backbone}").backbone)
    model = loaded.model(AutoModelForCausalLM, {}, seed=1)
    PrefixAdapter(bottleneck=LENGTH).insert(model, seed=1)
    randomised(model, std=0.1)
    prompt = torch.randint(5, 200, (3, 7), generator=torch.Generator().manual_seed(5))
    arguments: dict[str, Any] = {
        "attention_mask": torch.ones_like(prompt),
        "min_new_tokens": 8,
        "max_new_tokens": 8,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    cached = generate(model, prompt, **arguments, use_cache=True)
    assert torch.equal(
        cached.sequences, generate(model, prompt, **arguments, use_cache=False).sequences
    )
    with torch.no_grad():
        forced = model(cached.sequences).logits[:, 6:-1]
    torch.testing.assert_close(torch.stack(cached.logits, 1), forced, rtol=0, atol=1e-5)


def test_every_attention_of_bart_sees_its_prefix_and_causality_holds() -> None:
    model = bart()
    adapted = PrefixAdapter(bottleneck=LENGTH).insert(model, seed=1)
    randomised(model)
    sequence = torch.randint(5, 200, (3, 6), generator=torch.Generator().manual_seed(3))
    logits = model(**sources(), decoder_input_ids=sequence).logits
    logits[:, 2].square().sum().backward()
    for name in adapted.adapter:
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        assert gradient.abs().sum() > 0
    later = sequence.clone()
    later[:, 3:] = 7
    changed = model(**sources(), decoder_input_ids=later).logits
    torch.testing.assert_close(changed[:, :3], logits[:, :3])
    assert not torch.allclose(changed[:, 3:], logits[:, 3:])


def test_grasp_scores_prefixes_under_sdpa_as_under_eager_attention() -> None:
    scores = []
    for attention in ("sdpa", "eager"):
        model = bart(attention)
        adapted = PrefixAdapter(bottleneck=LENGTH).insert(model, seed=1)
        randomised(model).double()
        batch = sources() | {"labels": sources()["input_ids"]}
        task = scoring(model, [batch], transformers_loss, tensors=adapted.prunable)
        with undisturbed(model, task.tensors):
            scores.append(flatten(grasp(task)))
    assert scores[0].abs().max() > 1e-3
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-6, atol=1e-9)


def test_each_query_head_that_shares_a_key_head_counts() -> None:
    counts = count_costs(compose("backbone=tiny-llama", "adapter=prefix", "pruner=none"))
    config = compose("backbone=tiny-llama").backbone.architecture
    shared = config["num_attention_heads"] // config["num_key_value_heads"]
    assert shared == 2
    assert counts["added_flops_per_token"] == 2 * shared * counts["adapter"]


def test_a_backbone_without_the_interface_is_refused() -> None:
    config = DebertaV2Config(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    with pytest.raises(ConfigError, match=r"deberta-v2.*attention interface"):
        attend_to_prefixes(DebertaV2Model(config), "adapter")


def test_prefixes_that_another_attention_function_leaves_out_are_noticed() -> None:
    model = decoder()
    PrefixAdapter(bottleneck=LENGTH).insert(model, seed=1)
    model.set_attn_implementation("eager")
    with pytest.raises(ConfigError, match="attention ignored the prefixes"):
        model(input_ids=torch.tensor([[1, 2, 3]]))


def test_keys_and_values_are_drawn_from_n_0_002_and_prunable_unless_told() -> None:
    model = bart()
    adapted = PrefixAdapter(bottleneck=100).insert(model, seed=1)
    assert len(sites.site_modules(model, "attention")) == 6
    assert adapted.prunable == adapted.adapter
    assert len(adapted.adapter) == 12
    drawn = torch.cat([model.get_parameter(name).detach() for name in adapted.adapter])
    assert drawn.shape == (1200, 32)
    assert drawn.std() == pytest.approx(0.02, rel=0.02)
    kept = PrefixAdapter(bottleneck=2, prefix={"prune": False}).insert(bart(), seed=1)
    assert kept.prunable == ()


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ({"prun": True}, "did you mean adapter.prefix.prune"),
        ({"prune": 1}, "must be true or"),
        ({"scale": True}, r"adapter\.prefix\.scale=true"),
        ({"prune": "maybe"}, r"adapter\.prefix\.prune=maybe"),
        ({"scale": 0}, r"adapter\.prefix\.scale=0: must be a number above 0"),
        ({"scale": "much"}, r"adapter\.prefix\.scale=much"),
        ({"scale": math.nan}, "scale=nan: must be a number"),
    ],
)
@pytest.mark.parametrize("adapter", [PrefixAdapter, MAMAdapter])
def test_bad_options_are_named(
    adapter: type[PrefixAdapter | MAMAdapter], prefix: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        adapter(bottleneck=2, prefix=prefix)


def test_a_scale_changes_what_is_trained_and_not_where_it_starts() -> None:
    plain, scaled = decoder(), decoder()
    names = PrefixAdapter(bottleneck=LENGTH).insert(plain, seed=1).adapter
    PrefixAdapter(bottleneck=LENGTH, prefix={"scale": 40}).insert(scaled, seed=1)
    tokens = torch.tensor([[1, 2, 3]])
    outputs = [model(input_ids=tokens, labels=tokens) for model in (plain, scaled)]
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits)
    for output in outputs:
        output.loss.backward()
    for name in names:
        ours, theirs = scaled.get_parameter(name), plain.get_parameter(name)
        torch.testing.assert_close(40 * ours, theirs)
        assert theirs.grad is not None
        torch.testing.assert_close(ours.grad, 40 * theirs.grad)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [64, 60])
@pytest.mark.parametrize("pruner", sorted({*PRUNERS.entries()} - {"none", "taso", "units"}))
def test_a_scale_changes_no_mask_of_any_pruner_and_pruning_leaves_it(
    pruner: str, scale: float
) -> None:
    pruned = []
    for factor in (1, scale):
        model = bert()
        adapted = MAMAdapter(bottleneck=8, prefix={"scale": factor}).insert(model, seed=1)
        before = {name: model.get_parameter(name).detach().clone() for name in adapted.prunable}
        pruned.append(
            prune(
                model,
                tensors=adapted.prunable,
                sparsity=0.5,
                pruner=pruner,
                batches=token_batches(),
                loss=transformers_loss,
            )
        )
        for name, mask in pruned[-1].items():
            assert torch.equal(model.get_parameter(name), before[name] * mask)
        assert {prefix.parameter_scale for prefix in prefixes(model)} == {factor}
    ours, theirs = pruned
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
