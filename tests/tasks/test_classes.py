"""The classes of a user's own file: their order, their spellings, and what is no class."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from sklearn.metrics import f1_score
from transformers import EvalPrediction

from composing import compose
from exhaustive import EXHAUSTIVE
from sparsead.errors import ConfigError, DataError
from sparsead.tasks.contract import TASKS
from sparsead.tasks.text import TextTask


def task(file: Path, *overrides: str) -> TextTask:
    given = (f"task.train={file}", f"task.validation={file}", "task.inputs=[text]", *overrides)
    spec = compose("task=text", *given).task
    made = TASKS.bind(spec.method, spec.arguments())()
    assert isinstance(made, TextTask)
    return made


def jsonl(folder: Path, labels: Sequence[Any]) -> Path:
    path = folder / "labels.jsonl"
    lines = [json.dumps({"text": f"t{n}", "label": label}) for n, label in enumerate(labels)]
    path.write_text("\n".join(lines), "utf-8")
    return path


def csv(folder: Path, labels: Sequence[Any]) -> Path:
    path = folder / "labels.csv"
    path.write_text("text,label\n" + "".join(f"t,{label}\n" for label in labels), "utf-8")
    return path


def test_f1_is_that_of_the_higher_number_and_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = task(csv(tmp_path, [1, -1, 1, -1]), "task.metrics=[f1]")
    with caplog.at_level(logging.INFO):
        truth = mine.load()["train"]["label"][:]
    assert "f1 is that of the class 1; the other is -1" in caplog.text
    predicted = [0, 0, 1, 0]
    logits = np.eye(2)[predicted]
    signs = [-1, 1]
    expected = f1_score([signs[n] for n in truth], [signs[n] for n in predicted])
    assert mine.scores(EvalPrediction(logits, np.array(truth))) == {"f1": expected}


@pytest.mark.slow
@settings(max_examples=50 if EXHAUSTIVE else 10)
@given(st.lists(st.integers(-300, 300), min_size=2, max_size=9, unique=True))
def test_whole_numbers_are_in_the_order_of_their_values(
    tmp_path_factory: pytest.TempPathFactory, labels: list[int]
) -> None:
    path = csv(tmp_path_factory.mktemp("labels"), [*labels, *labels])
    assert task(path).classes == [str(label) for label in sorted(labels)]


def test_numbers_of_any_size_are_classes(tmp_path: Path) -> None:
    assert task(jsonl(tmp_path, [1e300, 1])).classes == ["1", "1e+300"]
    assert task(csv(tmp_path, ["1e400", "1"])).classes == ["1", "1e400"]


def test_numbers_come_before_texts(tmp_path: Path) -> None:
    labels = ["b", "10", "a", "9", "-1", "b"]
    assert task(csv(tmp_path, labels)).classes == ["-1", "9", "10", "a", "b"]


def test_one_number_is_one_class_whatever_its_type(tmp_path: Path) -> None:
    assert task(jsonl(tmp_path, [1, 1.0, 0, 0.0, "1"])).classes == ["0", "1"]
    table = pyarrow.table({"text": ["a", "b"], "label": [Decimal("1.00"), Decimal("0.00")]})
    parquet.write_table(table, tmp_path / "labels.parquet")
    assert task(tmp_path / "labels.parquet").classes == ["0", "1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["pos", "neg", "pos "], "line 2 in another spelling; write both alike"),
        (["pos", "neg", "Pos"], "'Pos' is 'pos' of line 1"),
        (["pos", "neg", "ｐｏｓ"], "another spelling"),
        (["caf\u00e9", "no", "cafe\u0301"], "another spelling"),
        ([1, 0, "1.0"], "'1.0' is '1' of line 1"),
        (["1", "0", "01"], "'01' is '1' of line 1"),
        ([True, False, 1], "'1' is 'true' of line 1"),
        (["pos", "neg", "pos\u200b"], "another spelling"),
        (["a", "b", " "], "has no label"),
        (["a", "b", "\u200f"], "has no label"),
        ([1.0, float("inf")], "inf is not a class"),
    ],
)
def test_two_spellings_of_a_class_are_refused(
    tmp_path: Path, labels: list[Any], message: str
) -> None:
    with pytest.raises(DataError) as error:
        task(jsonl(tmp_path, labels)).load()
    assert message.replace("line 2", "line 1") in str(error.value)
    assert "\n" not in str(error.value)


def test_names_that_the_user_lists_may_differ_in_their_spelling_alone(tmp_path: Path) -> None:
    path = jsonl(tmp_path, ["Pos", "pos"])
    assert task(path, "task.labels=[Pos,pos]").load()["train"]["label"][:] == [0, 1]


def test_numbers_to_predict_are_no_classes(tmp_path: Path) -> None:
    scores = [number / 24 for number in range(24)]
    hint = "predict numbers with task.regression=true"
    with pytest.raises(DataError, match=hint):
        task(csv(tmp_path, scores)).load()
    with pytest.raises(DataError, match=r"24 different labels in 24 rows; " + hint):
        task(csv(tmp_path, range(24))).load()
    assert len(task(csv(tmp_path, [*range(24), *range(24)])).classes) == 24
    assert task(csv(tmp_path, [0.5, 1.5]), "task.labels=['0.5','1.5']").load()
    assert task(csv(tmp_path, scores), "task.regression=true").load()


def test_a_number_with_underscores_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'1_0' is not a finite number"):
        task(csv(tmp_path, ["1_0", "2"]), "task.regression=true").load()


def test_booleans_that_yaml_made_of_the_labels_are_explained(tmp_path: Path) -> None:
    path = csv(tmp_path, ["no", "yes"])
    with pytest.raises(DataError, match="YAML reads no, yes, off and on as booleans"):
        task(path, "task.labels=[false,true]").load()
    assert task(path, "task.labels=[no,yes]").load()["train"]["label"][:] == [0, 1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.label=true", "task.label=true: must be a text; YAML reads no, yes, off and on"),
        ("task.inputs=[true]", r"task.inputs=\[True\]: must be a list of texts; YAML"),
        ("task.metrics=true", "task.metrics=true: must be a list of texts; YAML reads"),
        ("task.labels=[null,a]", "task.labels: None is not the name of a class"),
    ],
)
def test_other_values_that_yaml_made_are_explained(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        task(csv(tmp_path, ["no", "yes"]), override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.inputs=[premise,sentence2]", r"premise: no such choice \(allowed: sentence1, sent"),
        ("task.labels=[1,'1']", r"task.labels=\[1, '1'\]: names a class twice"),
    ],
)
def test_columns_and_classes_of_generated_sentences_are_checked(
    override: str, message: str
) -> None:
    spec = compose("task=demo_rte", override).task
    with pytest.raises(ConfigError, match=message):
        TASKS.bind(spec.method, spec.arguments())().load()


def test_a_class_in_another_spelling_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'no ' is not one of no, yes; did you mean no\?"):
        task(jsonl(tmp_path, ["no ", "yes"]), "task.labels=[no,yes]").load()


def test_a_column_of_text_may_be_called_label(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("label,category\nfine,b\nbad,a\n", "utf-8")
    mine = task(path, "task.inputs=[label]", "task.label=category")
    rows = mine.load()["train"]
    assert rows[:] == {"text": ["fine", "bad"], "label": [1, 0]}
    with pytest.raises(ConfigError, match="names the column category twice"):
        task(path, "task.inputs=[category]", "task.label=category")
