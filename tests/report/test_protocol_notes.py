"""What is said below a table about its protocol, and about the parts that pruning removed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsead.report.protocol_notes import removed_by_part
from sparsead.report.results import Results
from sparsead.report.view import build_view
from sparsead.runs.record import RunRecord
from sparsead.tables.cells import Column, Published, Row, TableSpec
from sparsead.tables.files import load_table
from table_states import measured

TABLE = TableSpec(
    name="two",
    title="Two",
    rows=[Row("mam"), Row("s-mam-40", "S-MAM", published=[Published("big", {}, {"one": 80.5})])],
    columns=[Column("one", "accuracy"), Column("two", "f1")],
    backbones=["big"],
    seeds=2,
)
PREFIXES = "layer.0.attention.self.adapter."
ADAPTERS = "layer.0.output.dropout.adapter."


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Results:
    return measured(TABLE, lambda _: {"accuracy": 0.5, "f1": 0.5}, monkeypatch)


def with_masks(removed: dict[str, int]) -> dict[str, Any]:
    return {"by_tensor": {name: {"total": 100, "removed": n} for name, n in removed.items()}}


def notes(results: Results) -> str:
    return "\n".join(build_view(results).notes)


def test_what_was_removed_from_prefixes_and_from_adapters_is_said(results: Results) -> None:
    assert "pruning removed" not in notes(results)
    for place, found in results.places.items():
        for seed, record in found.records.items():
            keys = 0 if place.row == "mam" else 90 + seed + 2 * (place.column == "two")
            record.result["sparsity"] = with_masks(
                {
                    f"{PREFIXES}key": keys,
                    f"{PREFIXES}value": keys // 2,
                    f"{ADAPTERS}down.weight": keys // 9,
                    f"{ADAPTERS}up.weight": keys // 9,
                }
            )
    (line,) = [line for line in notes(results).splitlines() if "pruning removed" in line]
    assert line == (
        "S-MAM: pruning removed 68 to 70 % of the prefixes and 10 % of the parallel adapters."
    )


def test_parts_are_told_apart_by_the_names_of_their_tensors() -> None:
    masks = with_masks({f"{PREFIXES}key": 50, f"{PREFIXES}value": 0, f"{ADAPTERS}up.weight": 10})
    assert removed_by_part(RunRecord(Path("run"), {"sparsity": masks})) == {
        "prefixes": 0.25,
        "adapters": 0.1,
    }
    assert removed_by_part(RunRecord(Path("run"), {})) == {}


def test_the_papers_search_and_our_rates_are_said(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "best of a grid search of 80 hyperparameter settings" in notes(results)
    assert "outside the paper's grid" not in notes(results)
    for found in results.places.values():
        for seed, record in found.records.items():
            set_rate(record, 1e-3 if seed == 1 else 5e-5, "sparse")
    assert "Learning rates outside the paper's grid: 0.001." in notes(results)
    assert "Chosen as a default with minilm" in notes(results)
    unpublished = TableSpec(**{**vars(TABLE), "rows": [Row("mam")]})
    plain = measured(unpublished, lambda _: {"accuracy": 0.5, "f1": 0.5}, monkeypatch)
    assert "grid search" not in notes(plain)


def test_table_4_says_on_what_alpha_and_the_prefixes_factor_were_chosen() -> None:
    (note,) = load_table("table4").notes
    assert "alpha of 64" in note
    assert "factor of 60" in note
    assert "MRPC's dev set with minilm" in note


@pytest.mark.parametrize("word", ["protocol.learning_rate=1e-3", "++protocol.learning_rate=1e-3"])
@pytest.mark.parametrize("part", ["rows", "columns", "overrides"])
def test_a_rate_that_the_table_names_is_not_called_a_default(
    part: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = getattr(TABLE, part)
    named = [word] if part == "overrides" else [replace(each, overrides=[word]) for each in found]
    table = TableSpec(**(vars(TABLE) | {part: named}))
    typed = measured(table, lambda _: {"accuracy": 0.5, "f1": 0.5}, monkeypatch)
    for found in typed.places.values():
        for record in found.records.values():
            set_rate(record, 1e-3, "sparse")
    assert "Learning rates outside the paper's grid: 0.001." in notes(typed)
    assert "as a default" not in notes(typed)


@pytest.mark.parametrize(
    ("adapter", "rate", "is_default"),
    [
        ("houlsby", 5e-4, True),
        ("houlsby", 1e-3, False),
        ("full", 5e-4, False),
        ("bitfit", 5e-3, True),
        ("ia3", 3e-3, False),
        ("of_my_own", 1e-3, False),
    ],
)
def test_a_rate_is_called_a_default_only_of_the_methods_that_have_it(
    adapter: str, rate: float, is_default: bool, results: Results
) -> None:
    """A table of runs that filters found does not know whether a rate was typed."""
    for found in results.places.values():
        for record in found.records.values():
            set_rate(record, rate, adapter)
    assert f"outside the paper's grid: {rate:g}." in notes(results)
    assert ("as a default" in notes(results)) == is_default


def set_rate(record: RunRecord, rate: float, adapter: str) -> None:
    record.result["config"] |= {"protocol": {"learning_rate": rate}, "adapter": {"name": adapter}}
