"""Packed batches against padded ones: the same loss and the same gradients, adapter by adapter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
import torch
from accelerate.utils import send_to_device
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
)

from composing import compose
from exhaustive import spread
from sequences import LENGTHS
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.loading import load_backbone
from sparsead.backbones.places import SiteError
from sparsead.seeding import make_generator
from sparsead.tasks.contract import Collator
from sparsead.training import packed_attention, unpadded
from sparsead.training.packed_attention import attend_by_kernel, attend_by_products
from sparsead.training.packing import PackingCollator
from sparsead.training.unpadded import unpad

CONF = Path(__file__).parents[2] / "conf"
ADAPTER_NAMES = sorted(
    {path.stem for path in (CONF / "adapter").glob("*.yaml")}
    - {"peft"}  # names of modules are BERT's
)


def build(
    backbone: str,
    adapter: str,
    *overrides: str,
    head: type[Any] = AutoModelForSequenceClassification,
) -> tuple[AdaptedModel, DataCollatorWithPadding]:
    budget = ["adapter.budget=0.05"] if adapter == "sparse" else []
    spec = compose(f"backbone={backbone}", f"adapter={adapter}", *budget, *overrides)
    loaded = load_backbone(spec.backbone)
    model = loaded.model(head, {} if "Question" in head.__name__ else {"num_labels": 3}, seed=1)
    chosen = spec.adapter
    if "dropout" in chosen.options:  # what is compared must be the same at every call
        chosen.options["dropout"] = 0.0
    if adapter == "fusion":
        chosen.options["fusion"]["adapters"] = [{"bottleneck": 4}, {"bottleneck": 8}]
    adapted = ADAPTERS.bind(chosen.method, chosen.options)().insert(model, 1)
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in (*adapted.adapter, *adapted.frozen) if adapter != "full" else ():
            model.get_parameter(name).normal_(0, 0.2, generator=draws)
    return adapted, DataCollatorWithPadding(loaded.tokenizer)


def examples(
    vocabulary: int, lengths: Sequence[int] = LENGTHS, segments: bool = False
) -> list[dict[str, Any]]:
    rows = []
    for number, length in enumerate(lengths):
        ids = torch.randint(
            5, vocabulary, (length,), generator=make_generator(number, "ids")
        ).tolist()
        row: dict[str, Any] = {"input_ids": ids}
        row |= {"attention_mask": [1] * length, "labels": number % 3}
        if segments:
            row["token_type_ids"] = [int(place > length // 2) for place in range(length)]
        rows.append(row)
    return rows


def loss_and_gradients(
    model: PreTrainedModel, batch: Mapping[str, Any]
) -> tuple[Any, dict[str, torch.Tensor]]:
    model.zero_grad()
    output = model(**batch)
    output.loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return output, {name: gradient.clone() for name, gradient in gradients.items()}


def assert_equal_to_padded(
    adapted: AdaptedModel,
    collator: Collator,
    rows: list[dict[str, Any]],
    precision: str = "fp32",
) -> None:
    model = adapted.model.train()
    padded, expected = loss_and_gradients(model, collator(rows))
    packed, gradients = loss_and_gradients(model, unpad(model, collator, precision)(rows))
    torch.testing.assert_close(packed.logits, padded.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(packed.loss, padded.loss, rtol=0, atol=1e-5)
    assert gradients.keys() == expected.keys()
    assert {*adapted.adapter, *adapted.head} & gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-5, msg=name)
    again, _ = loss_and_gradients(model, collator(rows))
    torch.testing.assert_close(again.logits, padded.logits, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "adapter", "precision"),  # bf16: the rounded shapes, in fp32
    spread(3, ["tiny-bert", "tiny-roberta", "tiny-electra"], ADAPTER_NAMES, ["fp32", "bf16"]),
)
def test_loss_logits_and_every_gradient_are_those_of_the_padded_batch(
    backbone: str, adapter: str, precision: str
) -> None:
    adapted, collator = build(backbone, adapter, "backbone.dropout=0")
    rows = examples(adapted.model.config.vocab_size, segments=backbone == "tiny-bert")
    rows[1]["input_ids"][5] = adapted.model.config.pad_token_id  # a literal [PAD] in the text
    assert_equal_to_padded(adapted, collator, rows, precision)


def without_mask(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name != "attention_mask"}


def with_positions(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "position_ids": torch.arange(20).flip(0).repeat(3, 1)}


def with_mask_of_pairs(batch: dict[str, Any]) -> dict[str, Any]:
    mask = torch.zeros(3, 1, 20, 20)
    mask[..., :10, 10:] = torch.finfo(torch.float).min
    return {**batch, "attention_mask": mask}


@pytest.mark.slow
@pytest.mark.parametrize("change", [without_mask, with_positions, with_mask_of_pairs])
def test_they_are_also_for_the_batches_of_a_collator_of_ones_own(
    change: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    adapted, collator = build("tiny-bert", "houlsby", "backbone.dropout=0")
    rows = examples(adapted.model.config.vocab_size, (20, 20, 20))
    assert_equal_to_padded(adapted, lambda rows: change(dict(collator(rows))), rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "adapter"),
    spread(2, ["tiny-distilbert", "tiny-gpt2", "tiny-llama"], ADAPTER_NAMES),
)
def test_they_are_also_where_the_head_reads_another_token(backbone: str, adapter: str) -> None:
    try:
        adapted, collator = build(backbone, adapter, "backbone.dropout=0")
    except SiteError:
        pytest.skip(f"{adapter} has no place in {backbone}")
    rows = examples(adapted.model.config.vocab_size)
    assert_equal_to_padded(adapted, collator, rows, "bf16" if adapter == "prefix" else "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["houlsby", "mam"])
@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-llama"])
def test_they_are_also_without_tokens_of_no_sequence_as_on_a_gpu(
    backbone: str, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(unpadded.ROUNDED_TOKENS, "fp32", 1)
    adapted, collator = build(backbone, adapter, "backbone.dropout=0")
    rows = examples(adapted.model.config.vocab_size)
    other, _ = build(backbone, adapter, "backbone.dropout=0")  # a model is unpadded once
    layout = unpad(other.model, collator, "fp32")(rows)["packing"]
    assert layout.total == layout.true_tokens
    assert_equal_to_padded(adapted, collator, rows, "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-gpt2"])
def test_they_are_also_where_a_cache_holds_the_attention_of_few(
    backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted, collator = build(backbone, "mam", "backbone.dropout=0")
    rows = examples(adapted.model.config.vocab_size)
    buckets = []
    for cached in (unpadded.CACHED_WEIGHTS, 64):
        monkeypatch.setattr(unpadded, "CACHED_WEIGHTS", cached)
        built, _ = build(backbone, "mam", "backbone.dropout=0")
        buckets.append(len(unpad(built.model, collator, "fp32")(rows)["packing"].buckets))
    assert buckets[1] == len(rows) > buckets[0]
    assert_equal_to_padded(adapted, collator, rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "adapter"),
    spread(
        2, ["tiny-bert", "tiny-distilbert", "tiny-gpt2", "tiny-llama"], ["houlsby", "prefix", "mam"]
    ),
)
def test_they_are_also_where_attention_is_written_out(backbone: str, adapter: str) -> None:
    adapted, collator = build(backbone, adapter, "backbone.dropout=0")
    adapted.model.double()  # in fp32 without dropout it is not
    rows = examples(adapted.model.config.vocab_size)
    with patch.object(packed_attention, "attend_by_products", wraps=attend_by_products) as products:
        assert_equal_to_padded(adapted, collator, rows, "bf16")
    assert products.called


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # fused, and written out
@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-gpt2", "tiny-llama"])
def test_a_text_of_one_token_sees_the_whole_prefix(backbone: str, dtype: torch.dtype) -> None:
    adapted, collator = build(backbone, "prefix", "backbone.dropout=0")
    torch.nn.Module.to(adapted.model, dtype)
    rows = examples(adapted.model.config.vocab_size, lengths=(1, 40, 1, 37))
    assert_equal_to_padded(adapted, collator, rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "adapter"), spread(3, ["tiny-bert", "tiny-roberta", "tiny-electra"], ADAPTER_NAMES)
)
def test_answers_have_the_loss_and_gradients_of_each_text_alone(
    backbone: str, adapter: str
) -> None:
    adapted, collator = build(
        backbone, adapter, "backbone.dropout=0", head=AutoModelForQuestionAnswering
    )
    model = adapted.model.train()
    rows = examples(model.config.vocab_size)
    for number, row in enumerate(rows):
        del row["labels"]
        row |= {"start_positions": number % 3, "end_positions": len(row["input_ids"]) - 1}
    alone = [loss_and_gradients(model, collator([row])) for row in rows]
    packed, gradients = loss_and_gradients(model, unpad(model, collator, "bf16")(rows))
    losses = torch.stack([output.loss for output, _ in alone])
    torch.testing.assert_close(packed.loss, losses.mean(), rtol=0, atol=1e-5)
    assert packed.start_logits.shape == (len(rows), max(LENGTHS))
    for number, (output, _) in enumerate(alone):
        logits = packed.end_logits[number]
        torch.testing.assert_close(
            logits[: LENGTHS[number]], output.end_logits[0], atol=1e-5, rtol=0
        )
        assert (logits[LENGTHS[number] :] == torch.finfo(logits.dtype).min).all()
    for name, gradient in gradients.items():
        mean = torch.stack([one[name] for _, one in alone]).mean(0)
        torch.testing.assert_close(gradient, mean, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-roberta"])
def test_the_last_layer_is_computed_for_one_token_a_sequence(backbone: str) -> None:
    adapted, collator = build(backbone, "houlsby")
    rows_seen: dict[str, int] = {}
    model = adapted.model
    batch = unpad(model, collator, "fp32")(examples(model.config.vocab_size))
    for name, part in model.named_modules():
        if name.endswith(("intermediate.dense", "attention.self.query")):
            part.register_forward_hook(
                lambda _m, inputs, _o, name=name: rows_seen.update({name: inputs[0].shape[1]})
            )
    model(**batch)
    assert list(rows_seen.values()) == 2 * [batch["packing"].total] + 2 * [len(LENGTHS)]


@pytest.mark.parametrize("dropout", [0, 0.1])
def test_gradient_checkpointing_recomputes_the_packed_layers(dropout: float) -> None:
    adapted, collator = build("tiny-bert", "houlsby", f"backbone.dropout={dropout}")
    model = adapted.model.train()
    batch = unpad(model, collator, "fp32")(examples(model.config.vocab_size))
    torch.manual_seed(1)
    _, expected = loss_and_gradients(model, batch)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    torch.manual_seed(1)
    _, gradients = loss_and_gradients(model, batch)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-6)


def test_packed_attention_can_be_differentiated_twice() -> None:
    adapted, collator = build("tiny-bert", "houlsby", "backbone.dropout=0")
    model, name = adapted.model, adapted.prunable[0]
    rows = examples(model.config.vocab_size)

    def product(batch: Mapping[str, Any]) -> torch.Tensor:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            loss = model(**batch).loss
            (first,) = torch.autograd.grad(loss, model.get_parameter(name), create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), model.get_parameter(name))
        return second

    expected = product(collator(rows))
    torch.testing.assert_close(product(unpad(model, collator, "fp32")(rows)), expected)


@pytest.mark.parametrize(
    ("backbone", "head", "reason"),
    [
        ("tiny-bart", AutoModelForSequenceClassification, "positions cannot be passed to bart"),
        (
            "tiny-deberta",
            AutoModelForSequenceClassification,
            "positions cannot be passed to deberta-v2",
        ),
        ("tiny-modernbert", AutoModelForSequenceClassification, "not support ModernBERT's sliding"),
        ("tiny-mpnet", AutoModelForSequenceClassification, "MPNet's relative position bias"),
        ("tiny-bert", AutoModelForMaskedLM, "BertForMaskedLM may read padding"),
    ],
)
def test_where_it_is_not_exact_one_line_says_so(
    backbone: str, head: type, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load_backbone(compose(f"backbone={backbone}").backbone)
    model = loaded.model(head, {}, seed=1)
    active = model.config._attn_implementation
    collator = DataCollatorWithPadding(loaded.tokenizer)
    with caplog.at_level(logging.INFO):
        assert unpad(model, collator, "fp32") is collator
    assert [reason in record.message for record in caplog.records] == [True]
    assert model.config._attn_implementation == active


def test_a_backbone_with_three_positions_is_packed() -> None:
    words = ["backbone=tiny-bert", "backbone.architecture.max_position_embeddings=3"]
    loaded = load_backbone(compose(*words).backbone)
    model = loaded.model(AutoModelForSequenceClassification, {}, seed=1)
    collator = DataCollatorWithPadding(loaded.tokenizer)
    assert isinstance(unpad(model, collator, "fp32"), PackingCollator)


def without_boundaries(*args: Any, padded: Any, packing: Any = None, **options: Any) -> Any:
    """Attend as if the packing no longer reached the attention function."""
    return padded(*args, **options)


def with_another_signature(*_args: Any, **options: Any) -> Any:
    if options.get("packing") is None:
        return packed_attention.packed_attention(*_args, **options)
    raise TypeError("_efficient_attention_forward() got an unexpected keyword argument\n'bias'")


@pytest.mark.parametrize(
    "head", [AutoModelForSequenceClassification, AutoModelForQuestionAnswering]
)
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (without_boundaries, "(ValueError: logits differ by"),
        (with_another_signature, "got an unexpected keyword argument 'bias')"),
    ],
)
def test_a_version_in_which_packing_fails_gets_padded_batches_and_a_line(
    changed: Any,
    reason: str,
    head: type,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    adapted, collator = build("tiny-bert", "houlsby", "backbone.dropout=0", head=head)
    model = adapted.model.train()
    for part in model.base_model.modules():
        if isinstance(part, torch.nn.Linear):
            part.weight.data *= 10  # random weights are so small that attention changes little
    batch = collator([{"input_ids": [5, 6, 7]}, {"input_ids": [8, 9, 10, 11]}])
    expected = model(**batch)
    drawn = torch.get_rng_state()
    monkeypatch.setattr(unpadded, "packed_attention", changed)
    with caplog.at_level(logging.INFO):
        assert unpad(model, collator, "fp32") is collator
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("batches are padded: packed ones fail with transformers 5.")
    assert reason in line
    assert model.training
    assert torch.equal(drawn, torch.get_rng_state())
    for got, whole in zip(model(**batch).to_tuple(), expected.to_tuple(), strict=True):
        torch.testing.assert_close(got, whole, rtol=0, atol=0)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("backbone", "adapter"),
    [
        ("tiny-bert", "houlsby"),
        ("tiny-distilbert", "houlsby"),
        ("tiny-llama", "houlsby"),
        ("tiny-llama", "full"),  # autocast leaves its queries and keys in fp32, its values not
    ],
)
def test_the_kernel_on_cuda_gives_the_padded_loss(
    dtype: torch.dtype, backbone: str, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted, collator = build(backbone, adapter, "backbone.dropout=0")
    model = send_to_device(adapted.model, "cuda")
    model.config.use_cache = False  # as in training
    rows = examples(model.config.vocab_size)
    fused = Mock(wraps=attend_by_kernel)
    monkeypatch.setattr(packed_attention, "attend_by_kernel", fused)
    tolerance = 1e-5 if dtype is torch.float32 else 1e-2
    with torch.autocast("cuda", dtype, enabled=dtype is not torch.float32):
        padded, expected = loss_and_gradients(model, send_to_device(collator(rows), "cuda"))
        batch = send_to_device(unpad(model, collator, "fp32")(rows), "cuda")
        fused.reset_mock()  # `unpad` tried it
        packed, gradients = loss_and_gradients(model, batch)
    assert fused.call_count == model.config.num_hidden_layers
    torch.testing.assert_close(packed.loss, padded.loss, rtol=0, atol=tolerance)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=tolerance)
