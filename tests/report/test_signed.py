"""A number that rounds to 0 has no minus sign, wherever a table or a report prints it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sparsead.report.requirements import Requirement
from sparsead.report.statistics import Estimate, MeanInterval
from sparsead.report.tabulate import render
from sparsead.report.view import build_view
from sparsead.tables.cells import Cell, Column, Row, TableSpec
from table_states import measured


def test_an_estimate_and_an_interval_that_round_to_zero_have_no_sign() -> None:
    assert str(Estimate(-0.001, 0.1)) == "0.00 ± 0.10"
    assert str(Estimate(-0.1, None)) == "-0.10"
    assert str(MeanInterval(-1.5, -0.001)) == "-1.50 to 0.00"


def test_a_difference_and_its_interval_that_round_to_zero_have_no_minus_sign() -> None:
    text = str(Requirement("y", "above 0", difference=-0.001, interval=(-0.72, -0.004), n=5))
    assert text.startswith("y: +0.00 [-0.72, +0.00] points")


@pytest.mark.parametrize("form", ["md", "html"])
def test_a_table_prints_no_minus_sign_before_a_zero(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(cell: Cell) -> Mapping[str, float]:
        lower = (0.00001, 0.00002, 0.00006)[cell.seed - 1] if cell.row == "snip" else 0.0
        return {"matthews_correlation": 0.5 + cell.seed / 100 - lower}

    table = TableSpec(
        name="one",
        title="One",
        rows=[Row("dense"), Row("snip")],
        columns=[Column("one", "matthews_correlation")],
        seeds=3,
        baseline="dense",
        comparisons=["snip"],
        claims=[{"text": "x", "kind": "beats", "row": "snip", "over": "dense", "column": "one"}],
    )
    text = render(build_view(measured(table, score, monkeypatch)), form)
    assert "+0.00" in text
    assert "-0.00" not in text
