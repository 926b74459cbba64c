"""What a task of the user's own returns is checked before it is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from composing import compose
from sparsead.assembly.build import build_task
from sparsead.errors import ConfigError
from sparsead.training.final_scores import evaluated_splits
from sparsead.training.prediction import (
    check_records,
    check_scores,
    find_directions,
    read_complete_records,
)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({}, "its scores are empty"),
        ({"accuracy": "high"}, "its score accuracy is 'high', which is not a number"),
        ({"accuracy": [1.0, 2.0]}, "its score accuracy is"),
        ({"accuracy": "0.5"}, "its score accuracy is '0.5', which is not a number"),
        ({"accuracy": True}, "its score accuracy is True, which is not a number"),
        ({"accuracy": 62.5}, "accuracy is a share, so that it must be between -1 and 1"),
        ({"cost": 10**400}, "which is not a number"),
        ({3: 0.5}, "3 is not the name of a metric"),
        ([0.5], r"its scores are \[0.5\], not numbers by name"),
    ],
)
def test_scores_that_are_no_numbers_are_refused(scores: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_scores(scores)
    assert check_scores({"accuracy": 1}) == {"accuracy": 1.0}


def test_scores_of_other_names_may_be_of_any_size() -> None:
    numbers = {"cost": 62.5, "accuracy": np.float32(0.5), "f1": float("nan")}
    assert check_scores(numbers) == pytest.approx(numbers, nan_ok=True)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (None, "must return a list of dictionaries"),
        ([[1]], "must return a list of dictionaries"),
        ([{"id": 0, "prediction": np.int64(1)}], "int64 is not JSON serializable"),
        ([{"id": 0, "prediction": 1}, {"id": 1, "prediction": "a"}], "kinds: number, text"),
        ([{"prediction": 1}], "has no 'id'"),
    ],
)
def test_records_that_cannot_be_stored_are_refused(records: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_records(records)


def test_numbers_and_missing_values_are_of_one_kind() -> None:
    check_records([{"id": n, "prediction": value} for n, value in enumerate([1, 0.5, None])])


def test_two_records_of_one_id_are_refused() -> None:
    records = [{"id": "0", "prediction": 1}, {"id": "0", "prediction": 2}]
    with pytest.raises(ConfigError, match='have the id "0"'):
        check_records(records)
    check_records(records[:1])


@pytest.mark.parametrize("line", [b"{", b"[1]\t", 10_000 * b'{"a":' + b"\t", b'{"id": "1"}\t0000'])
def test_records_are_read_up_to_the_first_line_that_is_none(tmp_path: Path, line: bytes) -> None:
    whole = check_records([{"id": "0", "prediction": 1}]).encode()
    (tmp_path / "predictions").write_bytes(whole + line + b"\n" + whole)
    assert read_complete_records(tmp_path / "predictions") == [{"id": "0", "prediction": 1}]


def test_the_splits_for_which_texts_are_generated_stay_with_a_held_out_share() -> None:
    data = DatasetDict({split: Dataset.from_dict({"x": [1]}) for split in ("validation", "test")})
    task = build_task(compose("task=demo_xsum", "backbone=tiny-bart"))
    assert evaluated_splits(task, data, held_out=False) == ["validation"]
    assert evaluated_splits(task, data, held_out=True) == ["test", "validation"]
    object.__setattr__(task, "generated_splits", ["hard", "validation"])
    assert evaluated_splits(task, data, held_out=True) == ["hard", "test", "validation"]


class Stating:
    """A task of one's own that states this of its scores."""

    def __init__(self, higher_is_better: Any) -> None:
        self.higher_is_better = higher_is_better


SCORES = ["cost", "accuracy", "speed", "hard_cost", "hard_speed", "hard_mae"]


@pytest.mark.parametrize(
    ("stated", "directions"),
    [
        (False, ["lower", "higher", None, "lower", None, "lower"]),
        ({"cost": False, "speed": True}, ["lower", "higher", "higher", "lower", "higher", "lower"]),
        ({"speed": False}, ["higher", "higher", "lower", "higher", "lower", "lower"]),
    ],
)
def test_directions_are_those_that_are_known(stated: Any, directions: list[str | None]) -> None:
    """Of the main score that is always so: without a statement higher is better."""
    task: Any = Stating(stated)
    found = find_directions(task, SCORES, ["validation", "hard"])
    assert [found.get(name) for name in SCORES] == directions


@pytest.mark.parametrize("stated", ["no", {"cost": 0}])
def test_a_direction_that_is_neither_true_nor_false_is_refused(stated: Any) -> None:
    task: Any = Stating(stated)
    with pytest.raises(
        ConfigError, match=r"its higher_is_better of cost is .*; it must be True or"
    ):
        find_directions(task, SCORES, [])
