"""Seeds that vary nothing are one observation, and a table says which parts its seeds fix."""

from __future__ import annotations

from typing import Any

import pytest

from sparsead.report import results as measuring
from sparsead.report.comparisons import compare_rows
from sparsead.report.histories import measure_advantages, measure_savings
from sparsead.report.results import Place, Results
from sparsead.report.view import build_view
from sparsead.tables.cells import Cell, Column, Row, TableSpec
from table_states import cells, state_of

TABLE = TableSpec(
    name="seeds",
    title="Seeds",
    rows=[Row("dense"), Row("magnitude-40")],
    columns=[Column("one", "accuracy")],
    backbones=["small"],
    seeds=4,
    baseline="dense",
    comparisons=["magnitude-40"],
)


def measure(monkeypatch: pytest.MonkeyPatch, varies: bool, **fixed: int) -> Results:
    """Measure the table; its runs differ from seed to seed only if `varies`."""

    def score(cell: Cell) -> dict[str, float | None]:
        return {"accuracy": 0.5 + (cell.seed / 100 if varies else 0.1)}

    every = cells(TABLE)
    states: dict[int, Any] = {}
    for cell in every:
        state: Any = state_of(cell, "accuracy", score)
        state.record.result["config"] |= fixed
        states[id(cell.request)] = state
    monkeypatch.setattr(measuring, "list_cells", lambda _: every)
    return measuring.measure(TABLE, lambda cell: states[id(cell.request)])


def test_runs_that_repeat_another_seed_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    results = measure(monkeypatch, varies=False, seed_data=1, seed_init=1)
    cell = results.places[Place("small", "magnitude-40", "one")]
    assert [*cell.scores] == [1]
    assert str(cell) == "60.00 (n=1)"
    (compared,) = compare_rows(results)
    assert compared.comparison.n == 1
    notes = build_view(results).notes
    assert any(
        "magnitude-40 in one: not counted: 3 runs of 4, with the losses" in note for note in notes
    )


def test_learning_curves_that_repeat_another_seed_are_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = measure(monkeypatch, varies=False, seed_data=1, seed_init=1)
    assert [*measure_advantages(results, "small", "magnitude-40", "dense")] == [1]
    assert [*measure_savings(results, "small", "magnitude-40", "dense")] == [1]


def test_equal_runs_without_a_fixed_seed_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = measure(monkeypatch, varies=False).places[Place("small", "dense", "one")]
    assert (len(cell.scores), cell.repeated) == (4, frozenset())


def test_a_table_says_what_its_seeds_do_not_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    results = measure(monkeypatch, varies=True, seed_data=1, seed_init=2)
    assert all(len(cell.scores) == 4 for cell in results.places.values())
    (note,) = [each for each in build_view(results).notes if "seed_data=1" in each]
    assert note.startswith("seed_data=1 and seed_init=2 in every run: the seeds of this table vary")
    unfixed = build_view(measure(monkeypatch, varies=True)).notes
    assert not any("in every run" in each for each in unfixed)
