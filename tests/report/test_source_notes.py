"""What is said below a table whose runs read different commits of the hub."""

from __future__ import annotations

import pytest

from sparsead.report.view import build_view
from sparsead.tables.cells import Column, Row, TableSpec
from table_states import measured

TABLE = TableSpec(
    name="two",
    title="Two",
    rows=[Row("dense"), Row("snip-80")],
    columns=[Column("one", "accuracy")],
    backbones=["big"],
    seeds=2,
)


def test_runs_of_several_commits_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    results = measured(TABLE, lambda _: {"accuracy": 0.5}, monkeypatch)

    def note(backbone_of_seed_2: str, task_of_snip: str) -> list[str]:
        for place, found in results.places.items():
            for seed, record in found.records.items():
                weights = backbone_of_seed_2 if seed == 2 else "a" * 40
                rows = task_of_snip if place.row == "snip-80" else "a" * 40
                record.result["sources"] = {
                    "backbone": {"hub": "owner/model", "commit": weights, "files": {}},
                    "task": {"hub": "owner/set", "config": "rte", "commit": rows},
                }
        return [line for line in build_view(results).notes if "of commit" in line]

    assert note("a" * 40, "a" * 40) == []
    assert note("b" * 40, "a" * 40) == [
        "owner/model: 2 runs of commit aaaaaaaa and 2 runs of commit bbbbbbbb: differences between "
        "these runs may come from the weights; backbone.revision=COMMIT reads the same in all of "
        "them."
    ]
    (line,) = note("a" * 40, "c" * 40)
    assert line.startswith("owner/set/rte: 2 runs of commit aaaaaaaa and 2 runs of commit cccccccc")
