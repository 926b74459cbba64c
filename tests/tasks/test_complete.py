"""Completions: how they are encoded, scored, learned and generated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel

import sparsead
from composing import ask_for, compose
from exhaustive import EXHAUSTIVE, choose, spread
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.full import FullFineTuning
from sparsead.adapters.lora import LoRAAdapter
from sparsead.assembly.build import build_task, prune_adapter
from sparsead.assembly.inputs import read_inputs
from sparsead.backbones.loading import Backbone, load_backbone
from sparsead.config.choices import list_choices
from sparsead.errors import ConfigError, DataError, SourceError
from sparsead.pruning.contract import PRUNERS
from sparsead.runs.predictions import read_predictions
from sparsead.tasks.cache import encode_once
from sparsead.tasks.complete import Completion
from sparsead.tasks.contract import Collator
from sparsead.tasks.demo_sums import sums
from sparsead.tasks.text_matches import find_number, warn_of_other_notations
from sparsead.tasks.text_scores import TextScores
from sparsead.train import train
from sparsead.training.generation import TextGenerator, generate_texts, list_prompts
from sparsead.training.labelled import skip_unlabelled
from sparsead.training.loss import build_criterion
from sparsead.training.unpadded import unpad

DECODERS = choose(
    ("tiny-gpt2", "tiny-llama", "tiny-qwen", "tiny-qwen2"), ("tiny-gpt2", "tiny-llama")
)
PRUNER_NAMES = sorted({*list_choices("pruner")} - {"none"})
ROWS = [
    {"prompt": "1+2=", "completion": "3"},
    {"prompt": "11+12=", "completion": "23"},
    {"prompt": "5+5=", "completion": "10"},
    {"prompt": "half of 7 is", "completion": " 3.5, as ever"},
]
QUICK = (
    "device=cpu",
    "protocol.epochs=1",
    "protocol.batch_size=4",
    "task.generation.max_new_tokens=3",
)


def task(*overrides: str) -> Completion:
    made = build_task(compose(*overrides))
    assert isinstance(made, Completion)
    return made


def files(folder: Path, rows: Sequence[Mapping[str, Any]] = ROWS) -> list[str]:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text, "utf-8")
    return [f"task.{split}={folder / 'rows.jsonl'}" for split in ("train", "validation")]


def loaded(backbone: str) -> Backbone:
    return load_backbone(compose(f"backbone={backbone}").backbone)


def decoder(backbone: str, seed: int = 1) -> PreTrainedModel:
    return loaded(backbone).model(AutoModelForCausalLM, {}, seed)


@pytest.mark.parametrize(
    ("text", "marker", "number"),
    [
        ("so 3 and 4 make 7.", None, "7"),
        ("#### 1,234.50 euros, not 7", "####", "1234.50"),
        ("#### 3 #### 4", "####", "4"),
        ("7", "####", None),
        ("none", None, None),
        ("it is -3", None, "-3"),
        ("it is \u22123", None, "-3"),
        ("9-3", None, "3"),
        ("12,34", None, "34"),
        ("$18 per day", None, "18"),
        (".5", None, "0.5"),
        ("it is -.25 now", None, "-0.25"),
        ("lost -$5", None, "-5"),
        ("9-$5", None, "5"),
        ("the end.5", None, "5"),
        ("1.5", None, "1.5"),
    ],
)
def test_a_number_is_found_where_it_is_said_to_be(
    text: str, marker: str | None, number: str | None
) -> None:
    assert find_number(text, marker) == (None if number is None else Decimal(number))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("es sind 1.234,5", "1234.5"),
        ("1.234.567", "1234567"),
        ("c'est -1\u202f234,50 €", "-1234.5"),
        ("c'est 1 234,50", "1234.5"),
        ("1'234,50", "1234.5"),
        ("1,5", "1.5"),
        ("3.5", "5"),
    ],
)
def test_numbers_with_a_decimal_comma_are_a_choice(text: str, number: str) -> None:
    assert find_number(text, None, "comma") == Decimal(number)


def test_the_choice_of_a_decimal_comma_ends_the_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"prompt": "1000+234,5=", "completion": "1.234,5"}]
    words = ["task=complete", *files(tmp_path, rows), "task.metrics=[number_match]"]
    english, german = (task(*words, *more) for more in ([], ["task.decimal_mark=comma"]))
    english.load()
    assert "such as 5 of 1.234,5; task=complete can read 1.234,5" in caplog.text
    caplog.clear()
    german.load()
    assert not caplog.text
    given = [{"prediction": text, "reference": "1.234,5"} for text in ("9,5", "1234,50")]
    assert german.example_scores(given) == {"number_match": [0, 1]}
    with pytest.raises(ConfigError, match=r"decimal_mark=coma: .*did you mean comma\?"):
        task(*words, "task.decimal_mark=coma")


def test_matches_compare_the_answer_or_its_number() -> None:
    scores = TextScores(["exact_match", "number_match"], answer_after="####")
    true = ["a #### 18", "b #### 1,000", "c #### 2", "d #### 5"]
    given = ["z #### 18", "z #### 1000.0", "2", "5 #### five"]
    each = scores.each(given, true)
    assert each == {"exact_match": [1, 0, 0, 0], "number_match": [1, 1, 0, 0]}
    means = scores.compute(predictions=given, references=true)
    assert means == {"exact_match": 0.25, "number_match": 0.5}
    whole = TextScores(["exact_match"]).each([" 3.", "3", ""], ["3.", "4", " "])
    assert whole == {"exact_match": [1, 0, 0]}


@pytest.mark.parametrize("ending", ["####", "#### \n", "#### \u200b"])
def test_a_marker_with_nothing_after_it_is_no_answer(ending: str) -> None:
    """Else a model that stops after the marker would be right of such true texts."""
    scores = TextScores(["exact_match"], answer_after="####")
    assert scores.each([f"x {ending}"], [f"y {ending}"]) == {"exact_match": [0]}
    assert "has nothing after task.answer_after=####" in str(scores.missing_answer(f"y {ending}"))
    assert scores.missing_answer("y #### 1") is None


@pytest.mark.parametrize(
    ("text", "marker", "part"),
    [
        ("1.234,5", None, "5 of 1.234,5"),
        ("#### 1.234,5 €", "####", "1.234 of 1.234,5"),
        ("it is 12,5", None, "5 of 12,5"),
        ("1\u202f234,5", None, "5 of 1\u202f234,5"),
        ("1 234", None, "234 of 1 234"),
        ("1'234.5", None, "234.5 of 1'234.5"),
        ("\u0661\u066b\u0665", None, "5 of \u0661\u066b\u0665"),
        ("3/4", None, "4 of 3/4"),
        ("2e5", None, "5 of 2e5"),
        ("1,23,456", None, "23456 of 1,23,456"),
    ],
)
def test_a_number_that_english_does_not_write_so_is_told(
    text: str, marker: str | None, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_other_notations(["#### 7", text], marker)
    assert f"in 1 of 2 true texts it compares only a part, such as {part}" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["-3", "1,234.5", "$1,000,000", "10", "3 or 4", "9-3", "none", "5.", "on 2024-05-06, 7%"],
)
def test_a_number_that_english_writes_so_is_not_told(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_other_notations([text], None)
    assert not caplog.text


def test_the_loss_is_of_the_completion_and_a_long_prompt_loses_its_beginning(
    tmp_path: Path,
) -> None:
    rows = [*ROWS[:1], {"prompt": "x" * 30 + "1+1=", "completion": "2"}]
    rows.append({"prompt": "a", "completion": "b" * 30})
    some = task(
        "task=complete", *files(tmp_path, rows), "task.max_length=8", "task.target_length=4"
    )
    tokenizer = loaded("tiny-llama").tokenizer
    splits, described = encode_once(some, tokenizer)
    texts = [tokenizer.decode(ids) for ids in splits["train"]["input_ids"]]
    assert texts == ["1+2=3<|endoftext|>", "xxxx1+1=2<|endoftext|>", "abbbb"]
    for ids, labels in zip(splits["train"]["input_ids"], splits["train"]["labels"], strict=True):
        (first,) = [i for i, label in enumerate(labels) if label != -100][:1]
        assert labels == [-100] * first + ids[first:]
    assert list_prompts(splits["train"])[0] == tokenizer("1+2=")["input_ids"]
    assert described["train"]["counts"] == {"completion_cut": 1, "empty_text": 0, "cut": 1}
    assert splits["validation"]["reference"][:2] == ["3", "2"]


def test_special_tokens_of_the_tokenizer_begin_the_prompt_alone(tmp_path: Path) -> None:
    some = task("task=complete", *files(tmp_path), "task.prefix='Q: '", "task.suffix=' A:'")
    tokenizer = loaded("tiny-roberta").tokenizer  # <s> … </s>
    splits, _ = encode_once(some, tokenizer)
    assert tokenizer.decode(splits["train"][0]["input_ids"]) == "<s>Q: 1+2= A:3</s>"
    assert tokenizer.decode(list_prompts(splits["train"])[0]) == "<s>Q: 1+2= A:"


@pytest.mark.parametrize(
    ("row", "overrides", "words"),
    [
        ({"prompt": "", "completion": "b"}, [], "example '0': has an empty prompt"),
        (
            {"prompt": "a", "completion": "b 1"},
            ["task.metrics=[number_match]", "task.answer_after=So"],
            "rows.jsonl:1: completion: 'b 1' has no number after task.answer_after=So",
        ),
        (
            {"prompt": "a", "completion": "b"},
            ["task.answer_after=So"],
            "rows.jsonl:1: completion: 'b' has nothing after task.answer_after=So",
        ),
    ],
)
def test_what_cannot_be_learned_or_scored_is_named_with_its_place(
    tmp_path: Path, row: Mapping[str, Any], overrides: Sequence[str], words: str
) -> None:
    some = task("task=complete", *files(tmp_path, [row]), *overrides)
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        some.encode(some.load(), loaded("tiny-llama").tokenizer)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["backbone=tiny-bert"], "backbone=tiny-bert: a bert is not known to continue texts"),
        (["backbone=tiny-bart"], "a bart is not known to continue texts .*tiny-llama or qwen"),
        (
            ["backbone=tiny-llama", "task.max_length=400"],
            "task.max_length=400: .* for 512 tokens, and 128 may follow; use task.max_length=384",
        ),
        (["backbone=tiny-llama", "adapter=head"], None),
    ],
)
def test_a_backbone_that_cannot_complete_is_refused(
    tmp_path: Path, overrides: list[str], words: str | None
) -> None:
    spec = compose("task=complete", *files(tmp_path), *overrides)
    if words is None:
        adapter = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)()
        with pytest.raises(ConfigError, match="so that nothing would train"):
            adapter.insert(decoder("tiny-llama"), 1)
        return
    with pytest.raises(ConfigError, match=words):
        read_inputs(spec)


def test_the_weights_that_give_the_next_token_are_the_backbone_s() -> None:
    for backbone in ("tiny-llama", "tiny-qwen"):  # of its own, and the embedding
        first, second = (decoder(backbone, seed) for seed in (1, 2))
        for name, parameter in first.named_parameters():
            assert torch.equal(parameter, second.get_parameter(name)), name
        assert LoRAAdapter(4, ["query"]).insert(first, 1).head == ()
        assert not first.get_output_embeddings().weight.requires_grad
        full = FullFineTuning().insert(second, 1)
        assert full.head == ()
        assert all(parameter.requires_grad for parameter in second.parameters())


def test_a_folder_without_what_gives_the_next_token_is_refused(tmp_path: Path) -> None:
    source = loaded("tiny-llama")
    source.model(AutoModel, {}, 1).save_pretrained(tmp_path)
    source.tokenizer.save_pretrained(tmp_path)
    spec = compose("backbone=folder", f"backbone.path={tmp_path}").backbone
    with pytest.raises(
        SourceError, match=r"has no lm_head\.weight, the weights that give the next"
    ):
        load_backbone(spec).model(AutoModelForCausalLM, {}, 1)


def lone_losses(
    model: PreTrainedModel, rows: Sequence[Mapping[str, Any]], smoothing: float
) -> Tensor:
    """Return the mean cross-entropy over all completions' tokens, each row read alone."""
    logits, targets = [], []
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        begin = row["labels"].count(-100)
        logits.append(model(input_ids=ids).logits[0, begin - 1 : -1])
        targets.append(ids[0, begin:])
    return F.cross_entropy(torch.cat(logits), torch.cat(targets), label_smoothing=smoothing)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", DECODERS)
def test_packed_or_padded_the_loss_is_that_of_each_row_alone(tmp_path: Path, backbone: str) -> None:
    some = task("task=complete", *files(tmp_path))
    splits, _ = encode_once(some, loaded(backbone).tokenizer)
    rows = splits["train"].to_list()
    plain = decoder(backbone).eval()
    padded = some.collator(loaded(backbone).tokenizer)(rows)
    spec = compose("task=complete", "protocol.label_smoothing=0.1").protocol
    smooth = build_criterion(spec, splits["train"], 2, of_next_token=True)
    assert smooth is not None
    expected = lone_losses(plain, rows, 0.0)
    torch.testing.assert_close(plain(**padded).loss, expected)
    torch.testing.assert_close(
        smooth(plain(**padded).logits, padded["labels"]), lone_losses(plain, rows, 0.1)
    )
    for packs in (False, True):
        model = decoder(backbone).eval()
        collator: Collator = some.collator(loaded(backbone).tokenizer)
        collator = unpad(model, collator, "fp32") if packs else collator
        skip_unlabelled(model)
        batch = collator(rows)
        assert ("packing" in batch) == packs
        output = model(**batch)
        assert output.logits.shape[:2] == (1, int((batch["labels"] != -100).sum()))
        torch.testing.assert_close(output.loss, expected)
        torch.testing.assert_close(
            smooth(output.logits, batch["labels"]), lone_losses(plain, rows, 0.1)
        )


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "adapter"), spread(2, DECODERS, ("houlsby", "prefix")))
def test_a_batch_with_a_cache_gives_what_each_prompt_alone_gives_without_one(
    tmp_path: Path, backbone: str, adapter: str
) -> None:
    some = task("task=complete", *files(tmp_path), "task.generation.max_new_tokens=6")
    tokenizer = loaded(backbone).tokenizer
    model = decoder(backbone)
    spec = compose(f"adapter={adapter}", "adapter.bottleneck=4").adapter
    adapted = ADAPTERS.bind(spec.method, spec.options)().insert(model, 1)
    with torch.no_grad():
        for name in adapted.adapter:
            model.get_parameter(name).normal_(0, 0.3, generator=torch.Generator().manual_seed(5))
    rows = some.encode(some.load(), tokenizer)["validation"]
    collator = unpad(model, some.collator(tokenizer), "fp32")
    model.eval()
    expected = []
    for prompt in list_prompts(rows):
        ids = list(prompt)
        while len(ids) < len(prompt) + 6 and tokenizer.eos_token_id not in ids[len(prompt) :]:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
            ids.append(int(logits[0, -1].argmax()))
        expected.append(str(tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)).strip())
    lengths: list[int] = []
    model.base_model.register_forward_pre_hook(
        lambda _m, given, options: lengths.append((*given, options.get("input_ids"))[0].shape[1]),
        with_kwargs=True,
    )
    generator = TextGenerator(
        model=model,
        task=some,
        tokenizer=tokenizer,
        collator=collator,
        batch_size=4,
        precision="fp32",
    )
    assert generate_texts(generator, rows) == expected
    assert lengths.count(1) == len(lengths) - len(generator.batches(rows))  # all but the prompts


ADAPTERS_OF_DECODERS = ("lora", "sparse", "dora", "houlsby")


def pruned_decoders() -> list[Any]:
    """Return each pruner with the adapters that it can prune, or with one of them."""
    cases = []
    for number, pruner in enumerate(PRUNER_NAMES):
        fitting = [
            adapter
            for adapter in ADAPTERS_OF_DECODERS
            if pruner != "taso" or adapter == "lora"
            if pruner not in ("force", "nm", "synflow", "units") or adapter != "sparse"
        ]
        backbone = ("tiny-llama", "tiny-qwen")[number % 2]
        chosen = fitting if EXHAUSTIVE else [fitting[number // 2 % min(len(fitting), 2)]]
        cases += [(backbone, adapter, pruner) for adapter in chosen]
    return cases


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "adapter", "pruner"), pruned_decoders())
def test_every_pruner_prunes_a_decoder_that_completes(
    tmp_path: Path, backbone: str, adapter: str, pruner: str
) -> None:
    budget = ["adapter.budget=0.1"] if adapter == "sparse" else ["adapter.bottleneck=4"]
    half = (f"pruner={pruner}", "sparsity.ratio=0.5")
    source = load_backbone(compose(f"backbone={backbone}").backbone)
    spec = compose("task=complete", *files(tmp_path), f"adapter={adapter}", *budget, *half)
    some = build_task(spec)
    rows = some.encode(some.load(), source.tokenizer)["train"]
    rows = rows.select_columns(["input_ids", "attention_mask", "labels"])
    model = source.model(AutoModelForCausalLM, {}, 1)
    adapted = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)().insert(model, 1)
    collator = unpad(model, some.collator(source.tokenizer), "fp32")
    skip_unlabelled(model)
    chosen = PRUNERS.bind(spec.pruner.method, spec.pruner.options)
    masks = prune_adapter(spec, chosen, adapted, [collator(rows.to_list())])
    if adapted.budget is None:
        assert masks.removed == masks.total // 2
    else:
        assert masks.total - masks.removed == round(0.5 * adapted.budget)


@pytest.mark.slow
def test_a_run_completes_and_predicts_what_it_recorded(tmp_path: Path) -> None:
    own = f"outputs={tmp_path}"
    chosen = ("backbone=tiny-llama", "adapter=lora", "pruner=snip", "sparsity.ratio=0.4")
    record = train(ask_for("task=complete", *files(tmp_path), *chosen, *QUICK, own))
    assert list(record.result["scores"]) == ["exact_match"]
    assert record.result["parameters"]["head"] == 0
    predicted = read_predictions(record, "validation")
    assert list(predicted["reference"]) == [row["completion"] for row in ROWS]
    assert "exact_match" in predicted
    again = sparsead.load(record.folder).predict(ROWS)
    assert [each["prediction"] for each in again] == list(predicted["prediction"])


def test_no_two_splits_of_the_generated_sums_share_one() -> None:
    splits = [sums(split) for split in ("train", "validation", "test")]
    prompts = [row["prompt"] for rows in splits for row in rows]
    assert len({*prompts}) == len(prompts) == 7000
    for row in splits[0][:50]:
        one, other = row["prompt"].removesuffix("=").split("+")
        assert int(one) + int(other) == int(row["completion"])
