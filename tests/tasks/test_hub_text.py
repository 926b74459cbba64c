"""Any data set of the hub, read from a stand-in, with the checks that files have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from composing import compose
from hub_files import data_files, parquet
from sparsead.errors import ConfigError, DataError
from sparsead.hub.commits import forget_commits
from sparsead.tasks.contract import TASKS
from stand_in_hub import StandInHub

NAME = "owner/reviews"
ROWS = [
    {"said": {"en": f"{n} cats", "fr": f"{n} chats"}, "stars": n % 2, "key": n} for n in range(8)
]
TEXT = (
    "task=text",
    f"task.hub={NAME}",
    "task.inputs=[said.en]",
    "task.label=stars",
    "task.hub_config=small",
)
DECLARED = b"""---
dataset_info:
- config_name: small
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': positive
          '1': negative
configs:
- config_name: small
  data_files:
  - {split: train, path: train.parquet}
  - {split: validation, path: validation.parquet}
---
"""


def task(*overrides: str) -> Any:
    spec = compose(*overrides).task
    return TASKS.bind(spec.method, spec.arguments())()


def put(hub: StandInHub, **splits: Sequence[Mapping[str, Any]]) -> str:
    whole = {"train": ROWS, "validation": ROWS[:4]} | splits
    forget_commits()
    return hub.commit("datasets", NAME, data_files({"small": whole, "large": whole}))


@pytest.mark.slow
def test_columns_of_objects_and_several_validation_sets(hub: StandInHub) -> None:
    put(hub, hard=ROWS[:2])
    read = task(*TEXT, "+task.hub_splits.hard=hard", "task.id=key").load()
    assert {split: len(rows) for split, rows in read.items()} == {
        "train": 8,
        "validation": 4,
        "hard": 2,
    }
    assert read["hard"].to_list() == [
        {"text": "0 cats", "label": 0},
        {"text": "1 cats", "label": 1},
    ]
    pair = task(*TEXT, "task.inputs=[said.en,said.fr]").load()["train"][1]
    assert pair == {"text": "1 cats", "text_pair": "1 chats", "label": 1}
    held_out = task(*TEXT, "task.validation_share=0.25").load()
    assert {split: len(rows) for split, rows in held_out.items()} == {"train": 6, "validation": 2}


@pytest.mark.parametrize(
    ("changed", "overrides", "reason"),
    [
        ({"said": {"en": None, "fr": ""}}, [], r"train:8: said.en: None is not a text"),
        ({"stars": None}, [], r"train:8: stars: has no label"),
        ({"key": 3}, ["task.id=key"], r"train:8: key: 3 is also the id of line 4"),
        ({"stars": 7}, ["task.labels=[0,1]"], r"train:8: stars: 7 is not one of 0, 1"),
        ({}, ["task.label=star"], r"train: column=star: no such choice; did you mean stars\?"),
        ({}, ["task.hub_splits.validation=dev"], r"has no split dev \(splits: train, validation\)"),
    ],
)
def test_rows_are_checked_as_those_of_a_file(
    changed: dict[str, Any], overrides: list[str], reason: str, hub: StandInHub
) -> None:
    put(hub, train=[*ROWS[:7], ROWS[7] | changed])
    with pytest.raises(DataError, match=rf"^{NAME}/small: {reason}"):
        task(*TEXT, *overrides).load()


def test_classes_are_those_that_the_set_declares(hub: StandInHub) -> None:
    rows = [{"text": f"{n}", "label": n % 2} for n in range(4)]
    files = {"README.md": DECLARED, "train.parquet": parquet(rows)}
    hub.commit("datasets", NAME, {**files, "validation.parquet": parquet(rows[:2])})
    read = task("task=text", f"task.hub={NAME}", "task.inputs=[text]")
    read.load()
    assert read.classes == ["positive", "negative"]
    named = task(
        "task=text", f"task.hub={NAME}", "task.inputs=[text]", "task.labels=[negative,positive]"
    )
    assert named.load()["train"]["label"][:] == [1, 0, 1, 0]
    forget_commits()
    secret = {"validation.parquet": parquet([{"text": "a", "label": -1}])}
    hub.commit("datasets", NAME, {**files, **secret})
    with pytest.raises(DataError, match=r"small|validation:1: label: has no label"):
        task("task=text", f"task.hub={NAME}", "task.inputs=[text]").load()


@pytest.mark.slow
def test_texts_and_questions_of_the_hub_are_checked_too(hub: StandInHub) -> None:
    put(hub, train=[*ROWS[:7], ROWS[7] | {"said": {"en": "a", "fr": None}}])
    french = ("task=translate", f"task.hub={NAME}", "task.hub_config=small")
    columns = ("task.inputs=[said.en]", "task.label=said.fr")
    with pytest.raises(DataError, match=rf"{NAME}/small: train:8: said.fr: None is not a text"):
        task(*french, *columns).load()
    answers = {"text": ["Rome"], "answer_start": [3]}
    asked = {"id": "a", "q": "Where?", "context": "In Rome.", "answers": answers}
    question = ("task=qa", f"task.hub={NAME}", "task.inputs=[q,context]")
    for changed, reason in (
        ({}, None),
        ({"answers": {"text": [], "answer_start": []}}, r"train:2: has no answer"),
        ({"answers": {"text": ["Rome"], "answer_start": [0]}}, r"does not stand at character 0"),
        ({"q": " "}, r"train:2: has no text 'question'"),
        ({"id": "a"}, r"train: two questions have the id 'a'"),
    ):
        rows: list[dict[str, Any]] = [asked, asked | {"id": "b"} | changed]
        forget_commits()
        hub.commit("datasets", NAME, data_files({"one": {"train": rows, "validation": rows[:1]}}))
        if reason is None:
            read = task(*question).load()["train"][1]
            assert (read["question"], read["answers"]) == ("Where?", answers)
        else:
            with pytest.raises(DataError, match=reason):
                task(*question).load()


def test_it_is_named_after_the_set_and_never_read_beside_files(glue_fixture: Any) -> None:
    assert compose(*TEXT).task.name == "reviews-small"
    file = glue_fixture / "RTE" / "dev.tsv"
    for other in (f"task.train={file}", f"task.path={glue_fixture}"):
        with pytest.raises(ConfigError, match=r"give the data in one of the two ways"):
            compose(*TEXT, other)
