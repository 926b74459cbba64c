"""Mistakes in a task of the user's own are one line that names the method."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from transformers import AutoModelForSequenceClassification

from sparsead.errors import ConfigError
from sparsead.tasks.checked import check_collator, check_encoded, check_head, check_loaded

ROWS = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
ENCODED = Dataset.from_dict({"input_ids": [[1], [2, 3]], "labels": [0, 1]})
LOADED = DatasetDict(train=ROWS, validation=ROWS)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (None, "'load' must return a DatasetDict, not NoneType"),
        ({"train": ROWS, "validation": ROWS}, "'load' must return a DatasetDict, not dict"),
        (DatasetDict(train=ROWS), "returns no split 'validation' .it returns train"),
        (DatasetDict(validation=ROWS), "returns no split 'train'"),
        (DatasetDict({**LOADED, "hard-2": ROWS}), "split=hard-2: .* did you mean hard_2"),
    ],
)
def test_splits_that_are_missing_are_named(splits: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_loaded(splits)
    assert check_loaded(LOADED) is LOADED


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"validation": None}, "'encode' returns no split 'validation'"),
        ({"other": ENCODED}, "'encode' returns a split 'other' of its own"),
        ({"train": ENCODED.remove_columns("labels")}, "train has no column 'labels'"),
        ({"validation": ROWS}, "validation has no column 'input_ids' .* .it has text, label"),
        (
            {"validation": Dataset.from_dict({"input_ids": [[1], []], "labels": [0, 1]})},
            "example 2 of validation has no tokens",
        ),
        (
            {"validation": Dataset.from_dict({"input_ids": [[1], [4]], "labels": [0, 1]})},
            "example 2 of validation has the token 4 .* tokens are 0 to 3",
        ),
        (
            {"validation": Dataset.from_dict({"input_ids": [["a"], ["b"]], "labels": [0, 1]})},
            "example 1 of validation has the token 'a'",
        ),
    ],
)
def test_what_a_model_could_not_take_is_named(changes: dict[str, Any], said: str) -> None:
    splits = {"train": ENCODED, "validation": ENCODED}
    given = {split: rows for split, rows in {**splits, **changes}.items() if rows is not None}
    with pytest.raises(ConfigError, match=said):
        check_encoded(DatasetDict(given), LOADED, highest=3)
    check_encoded(DatasetDict(splits), LOADED, highest=3)


def test_a_head_is_a_class_and_a_collator_a_function() -> None:
    check_head(AutoModelForSequenceClassification)
    assert check_collator(len) is len
    for wrong in (None, "AutoModelForSequenceClassification"):
        with pytest.raises(ConfigError, match="its head is "):
            check_head(wrong)
        with pytest.raises(ConfigError, match="'collator' must return a function"):
            check_collator(wrong)
