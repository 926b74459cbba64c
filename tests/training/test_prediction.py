"""What a task of the user's own returns is checked before it is stored."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from composing import compose
from sparsead.assembly.build import build_task
from sparsead.errors import ConfigError
from sparsead.training.final_scores import evaluated_splits
from sparsead.training.prediction import check_records, check_scores


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({}, "its scores are empty"),
        ({"accuracy": "high"}, "its score accuracy is 'high', which is not a number"),
        ({"accuracy": [1.0, 2.0]}, "its score accuracy is"),
    ],
)
def test_scores_that_are_no_numbers_are_refused(scores: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_scores(scores)
    assert check_scores({"accuracy": 1}) == {"accuracy": 1.0}


def test_two_records_of_one_id_are_refused() -> None:
    records = [{"id": "0", "prediction": 1}, {"id": "0", "prediction": 2}]
    with pytest.raises(ConfigError, match='have the id "0"'):
        check_records(records)
    check_records(records[:1])


def test_the_splits_for_which_texts_are_generated_stay_with_a_held_out_share() -> None:
    data = DatasetDict({split: Dataset.from_dict({"x": [1]}) for split in ("validation", "test")})
    task = build_task(compose("task=demo_xsum", "backbone=tiny-bart"))
    assert evaluated_splits(task, data, held_out=False) == ["validation"]
    assert evaluated_splits(task, data, held_out=True) == ["test", "validation"]
    object.__setattr__(task, "generated_splits", ["hard", "validation"])
    assert evaluated_splits(task, data, held_out=True) == ["hard", "test", "validation"]
