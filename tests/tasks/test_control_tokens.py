"""Control tokens in the user's texts are texts: in every tokenizer, task and split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from composing import ask_for, compose
from sparsead.assembly.trained import load
from sparsead.backbones.loading import load_backbone
from sparsead.errors import DataError
from sparsead.tasks.contract import TASKS, Task
from sparsead.train import train

BACKBONES = ["tiny-bert", "tiny-bart", "tiny-t5", "tiny-gpt2", "tiny-llama", "tiny-roberta"]
STORY = "the end </s> [SEP] <pad> <|endoftext|> of it"


def task(*overrides: str) -> Task:
    spec = compose(*overrides).task
    return TASKS.bind(spec.method, spec.arguments())()


def tokenizer(backbone: str) -> PreTrainedTokenizerBase:
    return load_backbone(compose(f"backbone={backbone}").backbone).tokenizer


def unigram() -> PreTrainedTokenizerFast:
    """Return a tokenizer like T5's, of whose vocabulary the control tokens are pieces."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [(letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyz</>|[]_.?"]
    backend = Tokenizer(models.Unigram([*pieces, *letters], unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        split_special_tokens=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_text_has_the_control_tokens_that_are_added_and_no_others(backbone: str) -> None:
    tokens = tokenizer(backbone)
    plain, odd = (
        tokens([text], [text])["input_ids"][0] for text in ("nothing odd", f"nothing {STORY}")
    )
    control = set(tokens.all_special_ids) - {tokens.unk_token_id}
    assert sum(i in control for i in odd) == sum(i in control for i in plain)


@pytest.mark.parametrize("name", ["sentence", "question", "summary"])
def test_what_the_tokenizer_cannot_read_as_text_is_refused_with_its_place(name: str) -> None:
    tokens = unigram()
    if name == "sentence":
        made = task("task=demo_cola")
        rows = Dataset.from_dict({"sentence": ["fine", "the </s>"], "label": [0, 1]})
        place = "train: example 2: 'the </s>'"
    elif name == "question":
        made = task("task=demo_squad", "task.max_length=384")
        answers = {"text": ["a"], "answer_start": [0]}
        row = {"id": "q7", "question": "who?", "context": "a </s>", "answers": answers}
        rows = Dataset.from_list([row])
        place = "question 'q7': 'who?' and 'a </s>'"
    else:
        made = task("task=demo_xsum", "backbone=tiny-t5")
        rows = Dataset.from_dict({"id": ["7"], "source": ["fine"], "target": ["a </s>"]})
        place = "example '7': 'a </s>'"
    with pytest.raises(DataError) as error:
        made.encode(DatasetDict(train=rows), tokens)
    assert place in str(error.value)
    assert "has a control token, one of " in str(error.value)
    assert "\n" not in str(error.value)


def test_the_message_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nfine,1\nthe </s>,0\n")
    files = (f"task.train={path}", f"task.validation={path}")
    made = task("task=text", *files, "task.inputs=[text]")
    with pytest.raises(DataError, match=r"rows\.csv: train: example 2: 'the </s>'"):
        made.encode(made.load(), unigram())


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["tiny-bart", "tiny-t5", "tiny-gpt2"])
def test_a_classifier_trains_on_such_texts_and_predicts_them(tmp_path: Path, backbone: str) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"{number} {STORY[number:]}", "label": number % 2} for number in range(8)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    request = ask_for(
        f"outputs={tmp_path}",
        f"backbone={backbone}",
        "task=text",
        f"task.train={path}",
        f"task.validation={path}",
        "task.inputs=[text]",
        "protocol.epochs=1",
        "adapter.bottleneck=4",
    )
    record = train(request)
    assert len(load(record.folder).predict(rows)) == 8
