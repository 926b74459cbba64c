"""The controls in the shipped tables are what their labels say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparsead.config.run import RunSpec
from sparsead.tables.cells import list_cells
from sparsead.tables.files import load_table

CONTROLS = {"shuffled": "shuffle", "anew": "reinit", "inverted": "invert"}


def rows_of(table: str, column: str = "mrpc") -> dict[str, RunSpec]:
    loaded = load_table(table, ["backbone=minilm", "seeds=1", f"only=column={column}"])
    return {cell.row: cell.spec for cell in list_cells(loaded)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "pruner"),
    [("controls", "snip"), ("controls_grasp", "grasp"), ("controls_magnitude", "magnitude")],
)
@pytest.mark.parametrize("percent", [40, 80])
def test_a_control_differs_from_the_pruned_row_in_nothing_else(
    table: str, pruner: str, percent: int
) -> None:
    rows = rows_of(table)
    pruned = rows[f"pruned-{percent}"]
    assert (pruned.pruner.name, pruned.sparsity) == (pruner, percent / 100)
    for name, control in CONTROLS.items():
        expected = replace(pruned, pruner=replace(pruned.pruner, control=control))
        assert rows[f"{name}-{percent}"] == expected
    random = rows[f"random-{percent}"]
    assert random.pruner.name == "random"
    assert replace(random, pruner=pruned.pruner) == pruned
    assert rows["adapter"].sparsity == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "column", "dense", "pruned"),
    [
        ("table1", "mrpc", "adapter-r38", "snip"),
        ("table2", "mrpc", "adapter-40", "s40"),
        ("table2", "mrpc", "adapter-80", "s80"),
        ("table2", "xsum", "adapter-40", "s40"),
        ("table2", "xsum", "adapter-80", "s80"),
        ("table2", "squad", "adapter-40", "s40"),
        ("table2", "squad", "adapter-80", "s80"),
        ("table4", "mrpc", "pfeiffer-r38", "s-pfeiffer"),
        ("table4", "mrpc", "lora-r5", "s-lora"),
        ("table4", "mrpc", "mam-r10", "s-mam"),
        ("controls", "mrpc", "adapter-r38", "pruned-40"),
        ("controls", "mrpc", "adapter-r13", "pruned-80"),
    ],
)
def test_a_dense_row_has_as_many_parameters_as_the_pruned_one_keeps(
    table: str, column: str, dense: str, pruned: str
) -> None:
    rows = rows_of(table, column)
    large, small = rows[pruned].adapter.options, rows[dense].adapter.options
    kept = (1 - rows[pruned].sparsity) * large["bottleneck"]
    assert rows[dense].sparsity == 0
    assert small["bottleneck"] == round(kept)
    same = {key: value for key, value in large.items() if key not in ("bottleneck", "alpha")}
    assert same == {key: value for key, value in small.items() if key in same}
    if "alpha" in large:
        assert small["alpha"] / small["bottleneck"] == large["alpha"] / large["bottleneck"]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_dense_row_has_as_many_flops_as_a_large_sparse_one(scale: int) -> None:
    rows = rows_of("table3")
    large = rows[f"ls{scale}x"]
    dense = rows[f"adapter-r{64 * scale}"]
    assert dense.adapter == large.adapter
    assert dense.sparsity == 0
    assert large.sparsity == pytest.approx(1 - 1 / scale)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["table1", "table2", "table3", "table4", "controls"])
def test_every_table_has_the_head_alone_and_the_dense_adapter_from_the_identity(
    table: str,
) -> None:
    rows = rows_of(table)
    assert rows["head"].adapter.method == "head"
    zero = {name: spec for name, spec in rows.items() if name.endswith("-zero")}
    assert zero
    for name, spec in zero.items():
        assert spec.adapter.options["init"] == "zero_up"
        own = rows[name.removesuffix("-zero")]
        assert spec.adapter.options == {**own.adapter.options, "init": "zero_up"}
