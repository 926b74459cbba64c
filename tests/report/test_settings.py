"""Finished runs, grouped by setting: one row for all seeds of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from composing import ask_for
from sparsead.report.settings import group_by_setting, rank_columns
from sparsead.report.statistics import Estimate
from sparsead.runs.record import read_records, write_result
from sparsead.runs.staging import staged
from synthetic import synthetic_result


def test_a_result_that_lacks_its_parts_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with staged(tmp_path / "runs" / "one") as staging:
        write_result(staging, {"config": {}, "scores": {}}, "")
    assert group_by_setting(read_records(tmp_path)) == []
    assert "runs/one/result.json: is not the result of a run" in capsys.readouterr().err


def test_rows_that_look_alike_differ_in_what_was_asked_for_alone(tmp_path: Path) -> None:
    for n in (2, 4):
        request = ask_for(f"outputs={tmp_path}", "pruner=nm", f"pruner.n={n}", f"pruner.m={2 * n}")
        result: Any = synthetic_result(request)
        if n == 4:  # a record of before this key
            del result["config"]["adapter"]["start_head"]
        with staged(request.folder) as staging:
            write_result(staging, result, "")
    rows = group_by_setting(read_records(tmp_path))
    assert sorted(row["pruner.n"] for row in rows) == ["2", "4"]
    assert "pruner.m" in rows[0]
    assert not {"pruner.density", "adapter.start_head"} & {*rows[0]}


@pytest.mark.parametrize(("group", "key"), [("backbone", "package_hub"), ("pruner", "density")])
def test_rows_are_not_told_apart_by_a_key_that_does_not_count(
    group: str, key: str, tmp_path: Path
) -> None:
    for rate in (0.001, 0.002):
        request = ask_for(f"outputs={tmp_path}", f"protocol.learning_rate={rate}")
        result: Any = synthetic_result(request)
        if rate == 0.002:
            result["config"][group][key] = None
        with staged(request.folder) as staging:
            write_result(staging, result, "")
    rows = group_by_setting(read_records(tmp_path))
    assert sorted(row["protocol.learning_rate"] for row in rows) == ["0.001", "0.002"]
    assert f"{group}.{key}" not in rows[0]


def test_rows_are_in_the_order_of_what_tells_them_apart(tmp_path: Path) -> None:
    for rate in ("5e-5", "0.01", "0.002"):
        request = ask_for(f"outputs={tmp_path}", f"protocol.learning_rate={rate}")
        with staged(request.folder) as staging:
            write_result(staging, synthetic_result(request), "")
    rows = group_by_setting(read_records(tmp_path))
    assert [row["protocol.learning_rate"] for row in rows] == ["5e-05", "0.002", "0.01"]


def test_the_keys_that_tell_rows_apart_come_before_further_scores() -> None:
    score = Estimate.of([0.5])
    alike = {"task": "mrpc", "pruner": "snip", "#param": 1.2, "accuracy": score, "f1": score}
    rows = [alike | {"task.limit": limit} for limit in (16, 40)]
    assert rank_columns(rows)[-5:] == ["accuracy", "task.limit", "f1", "#param", "seconds"]
