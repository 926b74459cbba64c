"""SuperGLUE's tasks: the same questions from the hub's rows and from the files of the benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from transformers import EvalPrediction

from composing import compose
from hub_files import data_files
from sparsead.backbones.loading import load_backbone
from sparsead.errors import DataError
from sparsead.tasks.contract import TASKS
from sparsead.tasks.files import read_layout, read_mappings
from sparsead.tasks.superglue import find_words
from sparsead.training.prediction import have_collapsed
from stand_in_hub import StandInHub

PLACE = {"sentence1": "Come to my place later?", "sentence2": "No place for them."}
WIC = {**PLACE, "word": "place", "start1": 11, "end1": 16, "start2": 3, "end2": 8, "label": 1}
PASSAGE = "Ann Lee met Bo in Rome. Bo left."
HUB: dict[str, list[dict[str, Any]]] = {
    "boolq": [{"question": "is it", "passage": "It is.", "label": n, "idx": n} for n in (0, 1)],
    "cb": [
        {"premise": "p", "hypothesis": "h", "label": label, "idx": n}
        for n, label in enumerate(("neutral", "entailment"))
    ],
    "wic": [WIC | {"label": n} for n in (0, 1)],
    "wsc.fixed": [
        {
            "text": "Bo saw Al, and he ran. Then he, Bo, fell.",
            "span1_text": "Bo",
            "span2_text": "he",
            "span2_index": 6,
            "label": n,
        }
        for n in (0, 1)
    ],
    "copa": [
        {
            "premise": "It rained.",
            "question": "effect",
            "choice1": "The sun shone.",
            "choice2": "It got wet.",
            "label": 1,
            "idx": n,
        }
        for n in (0, 1)
    ],
    "multirc": [
        {
            "paragraph": PASSAGE,
            "question": "Who left?",
            "answer": answer,
            "idx": {"paragraph": 0, "question": question, "answer": n},
            "label": label,
        }
        for question in (0, 1)
        for n, (answer, label) in enumerate((("Bo", 1), ("Ann", 0)))
    ],
    "record": [
        {
            "passage": PASSAGE,
            "query": "@placeholder left Rome.",
            "entities": ["Ann Lee", "Bo", "Rome", "Bo"],
            "answers": ["Bo"],
            "idx": {"passage": 0, "query": n},
        }
        for n in (0, 1)
    ],
}
FOLDERS = {"boolq": "BoolQ", "cb": "CB", "wic": "WiC", "wsc": "WSC"}
FOLDERS |= {"copa": "COPA", "multirc": "MultiRC", "record": "ReCoRD"}


def local_rows(name: str) -> list[dict[str, Any]]:
    """The same rows as `HUB` in the layout of SuperGLUE's own files."""
    rows = HUB.get(name, HUB["wsc.fixed"])
    if name in ("boolq", "wic"):
        return [row | {"label": bool(row["label"])} for row in rows]
    if name == "wsc":
        spans = ("span1_text", "span2_text", "span2_index")
        return [
            {"text": row["text"], "target": {s: row[s] for s in spans}, "label": bool(row["label"])}
            for row in rows
        ]
    if name == "multirc":
        answers = [{"text": "Bo", "label": 1, "idx": 0}, {"text": "Ann", "label": 0, "idx": 1}]
        asked = [{"question": "Who left?", "answers": answers, "idx": n} for n in (0, 1)]
        return [{"idx": 0, "passage": {"text": PASSAGE, "questions": asked}}]
    if name == "record":
        places = [{"start": s, "end": e} for s, e in ((0, 6), (12, 13), (18, 21), (24, 25))]
        qas = [
            {"query": row["query"], "idx": n, "answers": [{"start": 12, "end": 13, "text": "Bo"}]}
            for n, row in enumerate(rows)
        ]
        return [{"idx": 0, "passage": {"text": PASSAGE, "entities": places}, "qas": qas}]
    return rows


def write_files(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    place = folder / FOLDERS[name]
    place.mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for file in ("train.jsonl", "val.jsonl"):
        (place / file).write_text(text, "utf-8")
    return f"task.path={folder}"


def task(*overrides: str) -> Any:
    spec = compose(*overrides).task
    return TASKS.bind(spec.method, spec.arguments())()


@pytest.mark.parametrize("name", FOLDERS)
def test_the_hub_and_the_folder_have_the_same_rows(
    name: str, tmp_path: Path, hub: StandInHub
) -> None:
    config = "wsc.fixed" if name == "wsc" else name
    files = data_files({config: {"train": HUB[config], "validation": HUB[config]}})
    hub.commit("datasets", "aps/super_glue", files)
    there = task(f"task={name}").load()
    here = task(f"task={name}", write_files(tmp_path, name, local_rows(name))).load()
    assert list(there) == list(here) == ["train", "validation"]
    assert there["validation"].to_list() == here["validation"].to_list()


def test_words_are_marked(tmp_path: Path) -> None:
    read = {
        name: task(f"task={name}", write_files(tmp_path, name, local_rows(name))).load()["train"][0]
        for name in ("wic", "wsc")
    }
    assert read["wic"]["sentence1"] == "Come to my *place* later?"
    assert read["wic"]["sentence2"] == "No *place* for them."
    assert read["wsc"]["text"] == "Bo saw Al, and he ran. Then *he,* Bo, fell."
    assert read["wsc"]["noun"] == "Bo"
    assert find_words("a b a b", "A", 1) == (0, 1)
    assert find_words("a b a b", "b a", 3) == (2, 5)
    assert find_words("a b", "c", 0) is None


def scored(name: str, right: list[float], folder: Path) -> tuple[Any, list[Mapping[str, Any]]]:
    """Return the scores of a task's rows where these are the probabilities of its candidates."""
    read = task(f"task={name}", write_files(folder, name, local_rows(name)))
    tokenizer = load_backbone(compose("backbone=tiny-bert").backbone).tokenizer
    encoded = read.encode(read.load(), tokenizer)["validation"]
    logits = np.log(np.array([[1 - share, share] for share in right]))
    records = read.predictions(EvalPrediction(logits, np.array(encoded["labels"][:])), encoded)
    return read.record_scores(records), records


def test_candidates_are_compared_within_their_question(tmp_path: Path) -> None:
    scores, records = scored("copa", [0.2, 0.3, 0.9, 0.8], tmp_path)
    assert [record["prediction"] for record in records] == ["It got wet.", "The sun shone."]
    assert scores == {"accuracy": 0.5}
    scores, records = scored("multirc", [0.9, 0.4, 0.9, 0.6], tmp_path)
    assert [(r["prediction"], r["label"]) for r in records] == [("10", "10"), ("11", "10")]
    assert scores == {"f1_answers": pytest.approx(4 / 5), "exact_match": 0.5}
    scores, records = scored("record", [0.1, 0.3, 0.2, 0.9, 0.3, 0.2], tmp_path)
    assert [record["prediction"] for record in records] == ["Bo", "Ann Lee"]
    assert records[0]["references"] == ["Bo"]
    assert scores == {"f1": 0.5, "exact_match": 0.5}


@pytest.mark.parametrize("name", ["copa", "multirc", "record"])
def test_equal_outputs_for_all_candidates_are_a_collapse(name: str, tmp_path: Path) -> None:
    count = {"copa": 4, "multirc": 4, "record": 6}[name]
    for shares, collapsed in (
        ([0.7] * count, True),
        ([0.3] * count, True),
        ([0.7, *[0.3] * (count - 1)], False),
    ):
        _, found = scored(name, shares, tmp_path)
        records = [{**record, "label": number} for number, record in enumerate(found)]
        assert have_collapsed(task(f"task={name}", f"task.path={tmp_path}"), records) is collapsed


def test_a_candidate_fills_the_gap(tmp_path: Path) -> None:
    read = task("task=record", write_files(tmp_path, "record", local_rows("record"))).load()
    assert read["train"][0]["statements"] == [
        "Ann Lee left Rome.",
        "Bo left Rome.",
        "Rome left Rome.",
    ]
    limited = task("task=record", f"task.path={tmp_path}", "task.limit=1").load()
    assert len(limited["train"]) == 1


def asked(*questions: dict[str, Any]) -> dict[str, Any]:
    """A paragraph of MultiRC with these questions, each another one with one answer."""
    given = [
        {"question": f"Who {number}?", "answers": [{"text": "Bo", "label": 1}], **each}
        for number, each in enumerate(questions)
    ]
    return {"text": PASSAGE, "questions": given}


@pytest.mark.parametrize(
    ("name", "changed", "reason"),
    [
        ("boolq", {"label": "maybe"}, r"val.jsonl:1: label: 'maybe' is not one of false, true"),
        ("boolq", {"passage": 3}, r":1: passage: 3 is not a text"),
        ("wic", {"end1": 99}, r":1: start1: 11 to 99 is not a range of characters in sentence1"),
        ("wsc", {"text": "Nobody."}, r":1: target.span2_text: 'he' is not a part of the text"),
        ("copa", {"question": "why"}, r":1: question: 'why' is not one of cause, effect"),
        ("copa", {"label": 2}, r":1: label: 2 is not one of 0, 1"),
        ("multirc", {"passage": {"text": "a", "questions": 3}}, r":1: .* is not a list of objects"),
        (
            "record",
            {"qas": [{"query": "a", "idx": 0, "answers": []}]},
            r":1: query: 'a' has no @placeholder",
        ),
        ("copa", {"idx": "1"}, r":2: idx: 1 is also the id of line 1"),
        ("copa", {"idx": [1]}, r":1: idx: \[1\] is not an id"),
        ("multirc", {"passage": {"text": "a", "questions": []}}, r"\.jsonl: has no questions"),
        ("multirc", {"idx": None}, r":1: idx: None is not an id"),
        ("multirc", {"passage": asked({}, {})}, ":1: idx: None is not an id"),
        ("multirc", {"passage": asked({"idx": 1}, {"idx": 1})}, ":1: question: two questions have"),
        ("multirc", {"passage": asked({"idx": 1, "answers": []})}, ":1: answers: there are none"),
        (
            "record",
            {"qas": [{"query": "@placeholder left.", "idx": 1, "answers": [{"text": " "}]}]},
            ":1: answers: one of them is blank",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(
    name: str, changed: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    first, *others = local_rows(name)
    folder = write_files(tmp_path, name, [first | changed, *others])
    (tmp_path / FOLDERS[name] / "train.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in local_rows(name)), "utf-8"
    )
    with pytest.raises(DataError, match=reason):
        task(f"task={name}", folder).load()


def unlabelled(name: str, value: Any) -> Any:
    """Return rows without labels and answers, as a test set has them."""
    if isinstance(value, list):
        return [unlabelled(name, each) for each in value]
    if not isinstance(value, dict):
        return value
    secret = ("label", "answers") if name == "record" else ("label",)
    return {key: unlabelled(name, each) for key, each in value.items() if key not in secret}


@pytest.mark.parametrize("name", ["copa", "multirc", "record", "wic", "wsc"])
@pytest.mark.parametrize("form", ["hub", "files"])
def test_new_rows_are_read_like_those_of_a_split(name: str, form: str, tmp_path: Path) -> None:
    read = task(f"task={name}", write_files(tmp_path, name, local_rows(name)))
    tokenizer = load_backbone(compose("backbone=tiny-bert").backbone).tokenizer
    expected = read.encode(read.load(), tokenizer)["validation"]
    given = local_rows(name) if form == "files" else HUB["wsc.fixed" if name == "wsc" else name]
    rows = unlabelled(name, given)
    file = tmp_path / "new.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    new = read.new_rows(read_layout(file, read.layouts))
    encoded = read.encode_inputs(Dataset.from_list([dict(each.columns) for each in new]), tokenizer)
    assert encoded["input_ids"][:] == expected["input_ids"][:]
    assert read.new_rows(read_mappings(rows, read.layouts)) == new


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wic", "sentence1,start1,end1,sentence2,start2,end2\na cat,2,5,cat,0,3\n"),
        ("wsc", "text,span1_text,span2_text,span2_index\nTom said he left,Tom,he,2\n"),
    ],
)
def test_new_rows_of_a_csv_file_write_their_numbers_as_texts(
    name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text(text)
    read = task(f"task={name}")
    (new,) = read.new_rows(read_layout(tmp_path / "new.csv", read.layouts))
    assert (
        list(new.columns.values())
        == {
            "wic": ["a *cat*", "*cat*"],
            "wsc": ["Tom said *he* left", "Tom"],
        }[name]
    )


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("copa", {"premise": "a", "choice1": "b", "choice2": "c"}, "column=question: no such"),
        ("record", {"passage": "a", "query": "b @placeholder", "entities": []}, "there are none"),
        ("record", {"idx": 0, "passage": {"text": "a", "entities": []}}, "column=qas: no such"),
        ("wic", {"sentence1": "a", "sentence2": "a *b* c"}, "sentence1: 'a' marks no word, as in"),
        ("wsc", {"text": "he", "span1_text": "a", "span2_text": "it", "span2_index": 0}, "'it' is"),
    ],
)
def test_a_new_row_that_lacks_something_is_refused(
    name: str, row: dict[str, Any], reason: str
) -> None:
    read = task(f"task={name}")
    with pytest.raises(DataError, match=reason):
        read.new_rows(read_mappings([row], read.layouts))
