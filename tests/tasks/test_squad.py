from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForSequenceClassification,
    EvalPrediction,
    PreTrainedTokenizerBase,
)

from composing import ask_for, compose
from sparsead.backbones.loading import load_backbone
from sparsead.errors import ConfigError, DataError
from sparsead.runs.predictions import read_predictions
from sparsead.runs.request import RunRequest
from sparsead.tasks.answer_scores import AnswerScores, warn_of_other_answers
from sparsead.tasks.cache import encode_once
from sparsead.tasks.contract import TASKS
from sparsead.tasks.squad import SquadTask
from sparsead.tasks.squad_json import read_squad
from sparsead.train import train


def task(*overrides: str) -> SquadTask:
    spec = compose("task=squad", *overrides).task
    made = TASKS.bind(spec.method, spec.arguments())()
    assert isinstance(made, SquadTask)
    return made


def tokenizer(backbone: str) -> PreTrainedTokenizerBase:
    return load_backbone(compose(f"backbone={backbone}").backbone).tokenizer


TOKENIZERS = {name: tokenizer(name) for name in ("tiny-bert", "tiny-roberta")}


def write(path: Path, questions: list[dict[str, Any]], context: str) -> None:
    paragraphs = [{"context": context, "qas": questions}]
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}), "utf-8")


def question(number: int, context: str, start: int, end: int) -> dict[str, Any]:
    answer = {"text": context[start:end], "answer_start": start}
    return {"id": f"q{number}", "question": " who was it? ", "answers": [answer]}


def perfect(rows: Dataset) -> EvalPrediction:
    """Logits whose highest values are at the labels; without an answer, outside of the context."""
    width = max(map(len, rows["input_ids"]))
    logits: list[Any] = []
    for key in ("start_positions", "end_positions"):
        array = np.full((len(rows), width), -5.0, dtype=np.float32)
        array[np.arange(len(rows)), rows[key][:]] = 5
        logits.append(array)
    return EvalPrediction(predictions=tuple(logits), label_ids=np.empty(0))


TEXT = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=300
)


@pytest.mark.slow
@settings(max_examples=25)
@given(st.data(), TEXT, st.sampled_from(sorted(TOKENIZERS)), st.sampled_from(["left", "right"]))
def test_perfect_logits_give_the_gold_span_for_every_stride_and_length(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    context: str,
    backbone: str,
    side: str,
) -> None:
    tokens = TOKENIZERS[backbone]
    tokens.padding_side = side
    whole = tokens(context, add_special_tokens=False, return_offsets_mapping=True)
    words = [place for place in whole["offset_mapping"] if context[slice(*place)].strip()]
    if not words:
        return
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, min(first + 9, len(words) - 1)))
    start, end = words[first][0], words[last][1]
    stride = data.draw(st.integers(15, 60))
    length = stride + data.draw(st.integers(40, 200))
    path = tmp_path_factory.mktemp("squad") / "one.json"
    write(path, [question(0, context, start, end)], context)
    one = task(
        "task=qa",
        *(f"task.{split}={path}" for split in ("train", "validation")),
        f"task.stride={stride}",
        f"task.max_length={length}",
        "task.question_length=20",
    )
    rows = one.encode(one.load(), tokens)["validation"]
    (record,) = one.predictions(perfect(rows), rows)
    best = record["n_best"][0]
    assert context.startswith(best["text"], best["start"])
    assert record["prediction"].strip() == context[start:end].strip()
    if normalised(context[start:end]):
        assert one.record_scores([record]) == {"f1": 1, "exact_match": 1}


ZURICH = "Zu\u0308rich\u200f"  # its accent and its mark of direction have no token of BERT's


@pytest.mark.parametrize(
    "context", [f"In {ZURICH} .", f"{ZURICH} it was", f"\u200f{ZURICH} it was"]
)
def test_an_answer_with_characters_without_a_token_is_the_span_of_its_tokens(
    context: str,
) -> None:
    tokens = TOKENIZERS["tiny-bert"]
    start = context.index("Z")
    answers = {"text": [ZURICH], "answer_start": [start]}
    row = {"id": "q", "question": "where?", "context": context, "answers": answers}
    encoded = task("task=demo_squad").encode(DatasetDict(train=Dataset.from_list([row])), tokens)
    (feature,) = encoded["train"]
    answer = feature["input_ids"][feature["start_positions"] : feature["end_positions"] + 1]
    assert tokens.decode(answer) == "zurich"
    assert not feature["answer_lost"]


def test_a_blank_answer_of_the_hub_is_refused_too() -> None:
    answers = {"text": [" "], "answer_start": [0]}
    row = {"id": "q", "question": "where?", "context": " a", "answers": answers}
    with pytest.raises(DataError, match="question 'q': the answer ' ' is blank"):
        task().encode(DatasetDict(train=Dataset.from_list([row])), TOKENIZERS["tiny-bert"])


def test_true_answers_that_english_words_cannot_compare_are_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_of_other_answers(["f1"], [["Paris", "the city"], ["A"], ["a.n", "in Rome"]])
    assert "scores 1 of 3 questions 0 whose answer is nothing else, such as 'A'" in caplog.text
    caplog.clear()
    warn_of_other_answers(["f1", "exact_match"], [["東京"], ["Paris"]])
    assert "f1 splits texts into words at spaces" in caplog.text
    caplog.clear()
    warn_of_other_answers(["exact_match"], [["東京"], ["A"]])
    warn_of_other_answers(["f1"], [["Paris"], ["the", "the city"], []])
    assert not caplog.text


def normalised(text: str) -> list[str]:
    """An independent implementation of the official definition."""
    kept = "".join(" " if c.isspace() else c for c in text.lower() if c not in string.punctuation)
    return [word for word in re.split(r"\b(?:a|an|the)\b|\s", kept) if word]


def official(predictions: dict[str, str], path: Path) -> dict[str, float]:
    """Exact match and F1 in percent, over all questions of the file."""
    exact = f1 = total = 0.0
    for article in json.loads(path.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                golds = [normalised(answer["text"]) for answer in qa["answers"]]
                guess = normalised(predictions[qa["id"]])
                total += 1
                exact += max(" ".join(guess) == " ".join(gold) for gold in golds)
                f1 += max(overlap(guess, gold) for gold in golds)
    return {"exact_match": 100 * exact / total, "f1": 100 * f1 / total}


def overlap(guess: list[str], gold: list[str]) -> float:
    left, same = list(gold), 0
    for word in guess:
        if word in left:
            left.remove(word)
            same += 1
    if not same:
        return 0.0
    precision, recall = same / len(guess), same / len(gold)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["perfect", "empty", "perturbed"])
def test_scores_on_the_real_dev_set_are_the_official_ones(data_root: Path, kind: str) -> None:
    path = data_root / "squad" / "dev-v1.1.json"
    rows = read_squad(path)
    assert len(rows) == 10570
    draw = Random(0)
    predictions = {}
    for row in rows:
        text, start = row["answers"]["text"][-1], row["answers"]["answer_start"][-1]
        before, after = draw.randrange(12), draw.randrange(12)
        wider = row["context"][max(0, start - before) : start + len(text) + after]
        predictions[row["id"]] = {"perfect": text, "empty": "", "perturbed": wider}[kind]
    ours = AnswerScores(["f1", "exact_match"]).compute(
        predictions=list(predictions.values()),
        references=[row["answers"]["text"] for row in rows],
    )
    theirs = official(predictions, path)
    assert list(ours) == ["f1", "exact_match"]
    assert {name: 100 * value for name, value in ours.items()} == pytest.approx(theirs, abs=1e-9)
    if kind == "perfect":
        assert theirs["exact_match"] == 100
    if kind == "perturbed":
        assert 5 < theirs["exact_match"] < theirs["f1"] < 95


@pytest.mark.slow
def test_the_real_files_have_the_official_counts(data_root: Path) -> None:
    assert len(read_squad(data_root / "squad" / "train-v1.1.json")) == 87599


def test_what_is_cut_split_and_lost_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = "x" * 40 + " needle " + "y " * 200
    path = tmp_path / "q.json"
    questions = [question(0, context, 41, 47), question(1, context, 0, len(context) - 1)]
    questions[1]["question"] = "why " * 30
    write(path, questions, context)
    own = [f"task.{split}={path}" for split in ("train", "validation")]
    some = task("task=qa", *own, "task.max_length=150", "task.stride=60")
    for _ in ("tokenised", "read from the cache"):
        caplog.clear()
        with caplog.at_level("DEBUG"):
            splits, report = encode_once(some, TOKENIZERS["tiny-bert"])
        assert report["train"]["examples"] == len(splits["train"]) > 2
        assert "1 answer lost; 2 questions; 1 question cut" in caplog.text
    assert "question_cut" not in splits["train"].column_names
    first, *others = splits["train"]["start_positions"][:]
    assert splits["train"]["input_ids"][0][first] == TOKENIZERS["tiny-bert"]("n")["input_ids"][1]
    assert set(others) == {0}


GOOD = question(0, "In Rome.", 3, 7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "broken.json:1:1: is not JSON"),
        (b'{"data":\n [}', "broken.json:2:3: is not JSON"),
        (b'{"data":\n "\xff"}', "broken.json:2: byte 3 is not UTF-8"),
        (b"[" * 100_000, "nested too deep"),
        (b"[]", "broken.json: has no list 'data'"),
        (b'{"data": []}', "broken.json: has no questions"),
        (b'{"data": [{"paragraphs": [{}]}]}', r"data\[0\].paragraphs\[0\]: has no text 'context'"),
        ([GOOD | {"answers": []}], r"qas\[0\]: has no answer"),
        ([GOOD | {"id": 3}], r"qas\[0\]: has no text 'id'"),
        ([GOOD, GOOD], "two questions have the id 'q0'"),
        (
            [GOOD | {"answers": [{"text": "Rome", "answer_start": 2}]}],
            "'q0': the answer 'Rome' does not stand at character 2",
        ),
        ([GOOD | {"answers": [{"text": "Rome"}]}], "has no whole number 'answer_start'"),
        (
            [GOOD | {"answers": [{"text": " ", "answer_start": 2}]}],
            r"answers\[0\]: question 'q0': the answer ' ' is blank",
        ),
        (
            [GOOD | {"answers": [{"text": "\u200f", "answer_start": 2}]}],
            r"question 'q0': the answer '.*200f' is blank",
        ),
        ([GOOD | {"question": " "}], r"qas\[0\]: has no text 'question'"),
    ],
)
def test_a_broken_file_is_named_with_its_place(
    tmp_path: Path, content: bytes | list[dict[str, Any]], message: str
) -> None:
    path = tmp_path / "broken.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, content, "In Rome.")
    with pytest.raises(DataError, match=message) as caught:
        read_squad(path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=qa", "task.train=nowhere.json"], r"task\.train=nowhere\.json: is not a file"),
        (["task=qa", f"task.train={__file__}"], r"task\.validation: name a SQuAD JSON file"),
        (["task=qa"], r"task\.train, task\.validation: name a SQuAD JSON file for each"),
        (["task.metrics=[f2]"], "did you mean f1"),
        (["task.n_best=0"], "task.n_best=0: must be at least 1"),
    ],
)
def test_a_wrong_key_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(*overrides).load()


def test_a_length_without_room_is_refused() -> None:
    small = task("task.max_length=190")
    with pytest.raises(ConfigError, match=r"task\.max_length=190: leaves no room"):
        small.encode(DatasetDict(), TOKENIZERS["tiny-bert"])


def test_questions_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    answers = {"text": ["Rome"], "answer_start": [3], "score": 1}
    rows = [{"q": f"Where {n}?", "text": "In Rome.", "a": answers} for n in range(2)]
    file = tmp_path / "rows.jsonl"
    named = [f"task.{split}={file}" for split in ("train", "validation")]
    named += ["task=qa", "task.inputs=[q,text]", "task.label=a", "task.columns.id=null"]

    def read(*written: Mapping[str, Any]) -> Any:
        file.write_text("\n" + "".join(json.dumps(row) + "\n" for row in written), "utf-8")
        made = task(*named)
        return made, made.load()["train"].to_list()

    made, found = read(*rows)
    plain = {"text": ["Rome"], "answer_start": [3]}
    assert found == [
        {"id": str(n), "question": f"Where {n}?", "context": "In Rome.", "answers": plain}
        for n in range(2)
    ]
    assert made.inputs == ["q", "text"]
    for changed, reason in (
        ({"a": "Rome"}, r"rows.jsonl:3: answers: has no list 'text'"),
        ({"a": plain | {"answer_start": [0]}}, "does not stand at character 0"),
        ({"q": 3}, r"rows.jsonl:3: has no text 'question'"),
    ):
        with pytest.raises(DataError, match=reason):
            read(rows[0], rows[1] | changed)
    write(tmp_path / "squad.json", [question(0, "In Rome.", 3, 7)], "In Rome.")
    with pytest.raises(ConfigError, match=r"squad.json is read in SQuAD's format, which has no co"):
        task(*named, f"task.train={tmp_path / 'squad.json'}").load()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-bart"])
def test_a_run_keeps_its_answers(tmp_path: Path, backbone: str) -> None:
    context = "Ann lives in Rome. Bob lives in Oslo."
    for name in "ab":
        write(tmp_path / name, [question(n, context, 13, 17 + n) for n in range(5)], context)
    record = train(own_run(tmp_path, tmp_path / "a", backbone))
    answers = read_predictions(record).to_dict("records")
    assert [answer["id"] for answer in answers] == [f"q{n}" for n in range(5)]
    assert all(answer["prediction"] in context for answer in answers)
    assert sum(option["probability"] for option in answers[0]["n_best"]) == pytest.approx(1)
    assert list(record.result["scores"]) == ["f1", "exact_match"]
    moved = (tmp_path / "a").rename(tmp_path / "c")
    assert own_run(tmp_path, moved, backbone).identity == record.result["identity"]


def own_run(folder: Path, file: Path, backbone: str) -> RunRequest:
    return ask_for(
        "task=qa",
        f"task.train={file}",
        f"task.validation={folder / 'b'}",
        f"backbone={backbone}",
        f"outputs={folder / 'outputs'}",
        "protocol.epochs=1",
        "device=cpu",
    )


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=4), st.just("\ud800"), st.just([{}])
)


@given(st.data())
def test_a_file_with_a_wrong_value_anywhere_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("squad") / "one.json"
    write(path, [question(0, "In Rome.", 3, 7), question(1, "In Rome.", 0, 2)], "In Rome.")
    node = root = json.loads(path.read_text("utf-8"))
    while isinstance(node, dict | list) and node:
        above, keys = node, sorted(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(list(keys)))
        node = above[key] if data.draw(st.integers(0, 3)) else None
    above[key] = data.draw(JUNK)
    path.write_text(json.dumps(root), "utf-8")
    try:
        rows = read_squad(path)
    except DataError as error:
        rows, said = [], str(error)
    else:
        said = str(path)
    assert said.startswith(str(path))
    assert "\n" not in said
    json.dumps(rows, ensure_ascii=False).encode()
    for row in rows:
        for text, start in zip(*row["answers"].values(), strict=True):
            assert row["context"].startswith(text, start)


def test_the_classes_of_a_fine_tuned_folder_do_not_count_for_questions(tmp_path: Path) -> None:
    tiny = load_backbone(compose("backbone=tiny-bert").backbone)
    tiny.model(AutoModelForSequenceClassification, {"num_labels": 7}, 1).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    local = load_backbone(compose("backbone=folder", f"backbone.path={tmp_path}").backbone)
    some = task()
    model = local.model(some.head, some.head_options, 1)
    assert model.get_submodule("qa_outputs").out_features == 2
