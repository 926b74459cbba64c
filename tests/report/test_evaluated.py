"""Rows that were evaluated on different examples are not compared, and it is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsead.report.comparisons import compare_rows
from sparsead.report.evaluated import differ_in_examples
from sparsead.report.view import build_view
from sparsead.runs.record import RunRecord
from sparsead.tables.cells import Cell, Column, Row, TableSpec
from table_states import measured

CLAIM = {"text": "better", "kind": "beats", "row": "other", "over": "dense", "column": "one"}
TABLE = TableSpec(
    name="examples",
    title="Examples",
    rows=[Row("dense"), Row("other")],
    columns=[Column("one", "accuracy")],
    backbones=["small"],
    baseline="dense",
    comparisons=["other"],
    claims=[CLAIM],
)


def score(cell: Cell) -> dict[str, float | None]:
    return {"accuracy": 0.5 + cell.seed / 100 + (0.2 if cell.row == "other" else 0.0)}


@pytest.mark.parametrize("seeds", [3, 8])
@pytest.mark.parametrize("examples", [20, 40])
def test_rows_of_different_examples_are_not_compared(
    seeds: int, examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = measured(replace(TABLE, seeds=seeds), score, monkeypatch)
    for place, cell in results.places.items():
        for record in cell.records.values():
            number = examples if place.row == "other" else 20
            record.result["data"] = {"train": {"examples": 9}, "validation": {"examples": number}}
    view = build_view(results)
    said = (
        "other and dense were evaluated on different examples in one, and are not compared there."
    )
    assert len(compare_rows(results)) == (examples == 20)
    assert (said in view.notes) == (examples == 40)
    (verdict,) = view.verdicts
    if examples == 40:
        assert verdict.verdict == "cannot be told: rows cannot be compared"
        assert verdict.reason == "dense and other in one: evaluated on different examples"


def run_on(packages: str = "1.0", held_out: bool = False, **split: Any) -> RunRecord:
    data = {"train": {"examples": 9}, "validation": split}
    if held_out:
        data = {"train": {"examples": 8}, "validation": {"examples": 1}, "test": split}
    result = {"data": data, "environment": {"packages": {"datasets": packages}}}
    return RunRecord(Path("run"), result | ({"selection": {"accuracy": 0.5}} if held_out else {}))


def test_what_a_record_says_of_the_examples_is_compared() -> None:
    one = run_on(examples=4, classes={"no": 2, "yes": 2}, sha256="a")
    assert not differ_in_examples(one, run_on(examples=4))
    assert not differ_in_examples(one, run_on(examples=4, sha256="a", held_out=True))
    assert differ_in_examples(one, run_on(examples=4, classes={"no": 1, "yes": 3}))
    assert differ_in_examples(one, run_on(examples=4, sha256="b"))
    assert not differ_in_examples(one, run_on(examples=4, sha256="b", packages="2.0"))
    numbers = {"mean": 0.1 + 0.2, "deviation": 1.0}
    near = {"mean": 0.3, "deviation": 1.0}
    assert not differ_in_examples(run_on(numbers=numbers), run_on(numbers=near))
    assert differ_in_examples(run_on(numbers=numbers), run_on(numbers={**near, "mean": 0.4}))
