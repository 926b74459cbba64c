"""What is said below a table about weights that were kept for another reason than their score."""

from __future__ import annotations

import pytest

from sparsead.report.mask_notes import notes_of_masks
from sparsead.report.results import Results
from sparsead.report.view import build_view
from sparsead.tables.cells import Column, Row, TableSpec
from table_states import measured

TABLE = TableSpec(
    name="two",
    title="Two",
    rows=[Row("dense"), Row("synflow-80", "SynFlow, 80 %"), Row("snip-80", "SNIP, 80 %")],
    columns=[Column("one", "accuracy")],
    backbones=["big"],
    seeds=2,
)


def test_what_the_minimum_and_ties_decided_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    results = measured(TABLE, lambda _: {"accuracy": 0.5}, monkeypatch)
    assert "did not decide" not in "\n".join(build_view(results).notes)
    for place, found in results.places.items():
        for seed, record in found.records.items():
            at_minimum = ["t0", "t1"] if place.row == "synflow-80" else []
            counts = {"minimum": 100 * seed * len(at_minimum), "ties": 0, "at_minimum": at_minimum}
            record.result["sparsity"] |= {
                "total": 10_000,
                "removed": 8_000,
                "by_tensor": {f"t{number}": {"total": 1, "removed": 0} for number in range(24)},
                "not_by_score": counts if place.row != "dense" else {"minimum": 0, "ties": 0},
            }
    (note,) = [note for note in build_view(results).notes if "did not decide" in note]
    assert note == (
        "SynFlow, 80 %: in 2 of 2 runs the scores did not decide all of the 2,000 kept weights: "
        "300 kept only because of pruner.minimum_kept (in 2 of 24 tensors); means "
        "over these runs."
    )
    again = {place._replace(column="again"): found for place, found in results.places.items()}
    assert notes_of_masks(Results(TABLE, {**results.places, **again})) == [note], (
        "a run with a score in several columns is counted once"
    )
    for found in results.places.values():
        for record in found.records.values():
            record.result["sparsity"]["not_by_score"] = {"minimum": 0, "ties": 7, "at_minimum": []}
    text = "\n".join(build_view(results).notes)
    assert "7 drawn at random among equal scores; means over these runs." in text
    for found in results.places.values():
        for record in found.records.values():
            del record.result["sparsity"]["by_tensor"]
    assert "did not decide" not in "\n".join(build_view(results).notes)
    for found in results.places.values():
        for record in found.records.values():
            record.result["sparsity"]["by_tensor"] = {}
    first = next(iter(results.places))
    results.places[first].records[1].result["sparsity"]["not_by_score"] = {}
    assert "in 1 of 2 runs the scores did not decide" in "\n".join(build_view(results).notes)
