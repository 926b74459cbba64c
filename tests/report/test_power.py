"""The power of a table's comparisons, against known numbers and against the test itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean, variance

import numpy as np
import pytest
from scipy.stats import t

from sparsead.config.choices import list_choices
from sparsead.report.comparisons import list_pairs
from sparsead.report.power import (
    compute_power,
    count_comparisons,
    describe_needed_seeds,
    describe_power,
    find_detectable_effect,
    find_needed_seeds,
    measure_spread,
)
from sparsead.report.statistics import ALPHA, fewest_pairs, permutation_p, smallest_p
from sparsead.tables.cells import AVERAGE, Cell, Column, Row, TableSpec
from sparsead.tables.files import load_table
from table_states import measured

TABLE = TableSpec(
    name="power",
    title="Power",
    rows=[Row(name) for name in ("dense", "one", "two")],
    columns=[Column("task", "accuracy", label="Task"), Column("far", "accuracy", label="Far")],
    backbones=["small"],
    average=["task"],
    baseline="dense",
    comparisons=["one", "two"],
)


def score(cell: Cell) -> Mapping[str, float | None] | str:
    """Row one alternates around the dense one, row two gains what the seed is."""
    if cell.column == "far":
        return "missing"
    gain = {"one": 0.01 * (-1) ** cell.seed, "two": 0.01 * cell.seed}.get(cell.row, 0.0)
    return {"accuracy": 0.5 + gain}


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_seeds_of_a_paired_test_are_those_of_cohens_tables(effect: float, seeds: int) -> None:
    """Two-sided at 5 % with power 0.8 (Cohen, 1988; G*Power gives the same)."""
    assert find_needed_seeds(effect, 0.05, 0.8) == seeds


def test_the_fewest_pairs_are_those_of_the_smallest_p() -> None:
    assert [fewest_pairs(tests) for tests in (1, 2, 10, 200)] == [6, 7, 9, 13]
    assert fewest_pairs(260) is None


@pytest.mark.parametrize(("n", "level", "effect"), [(6, 0.05, 1.5), (8, 0.05, 1.0), (8, 0.01, 1.8)])
def test_the_power_is_how_often_the_permutation_test_is_significant(
    n: int, level: float, effect: float
) -> None:
    """Both are shares of samples: of those drawn here, and of the 2,000 of `compute_power`."""
    samples = 10_000
    draws = np.random.default_rng(3).normal(effect, 1.0, (samples, n))
    share = fmean(permutation_p(list(draw)) <= level for draw in draws)
    error = (share * (1 - share) * (1 / samples + 1 / 2000)) ** 0.5  # standard error, about 0.01
    assert compute_power(effect, n, level) == pytest.approx(share, abs=3 * error)


def test_simulation_and_t_test_meet_where_one_takes_over() -> None:
    for effect in (0.5, 0.8, 1.1):
        assert compute_power(effect, 13, 0.05) == pytest.approx(
            compute_power(effect, 14, 0.05), abs=0.06
        )


@pytest.mark.parametrize("comparisons", [1, 12])
def test_many_seeds_show_what_the_t_test_shows(comparisons: int) -> None:
    """The effect follows Student's quantiles closely, and falls with the number of seeds."""
    level, found = ALPHA / comparisons, []
    for n in (14, 16, 20, 30, 50, 100):
        effect = find_detectable_effect(n, level, 0.8)
        assert effect is not None
        about = (t.isf(level / 2, n - 1) + t.isf(0.2, n - 1)) / n**0.5
        assert effect == pytest.approx(about, rel=0.03)
        assert compute_power(20, n, level) == 1
        found.append(effect)
    assert found == sorted(found, reverse=True)


def test_without_an_effect_the_power_is_the_level() -> None:
    assert compute_power(0.0, 10, 0.05) == pytest.approx(0.05, abs=0.015)
    assert compute_power(0.0, 40, 0.05) == pytest.approx(0.05)


def test_so_few_seeds_show_no_difference_however_large() -> None:
    assert compute_power(100, 5, 0.05) == 0
    assert find_detectable_effect(5, 0.05, 0.8) is None
    effect = find_detectable_effect(8, 0.05, 0.8)
    assert effect is not None
    assert compute_power(effect, 8, 0.05) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("effect", [1e3, 1e300, float("inf")])
def test_an_effect_however_large_needs_the_fewest_pairs(effect: float) -> None:
    """As of a standard deviation of 1e-320 points, by which half a point divided is infinite."""
    assert find_needed_seeds(effect, 0.05, 0.8) == fewest_pairs(1)
    assert [compute_power(effect, n, 0.05) for n in (5, 6, 13, 14, 1000)] == [0, 1, 1, 1, 1]


def test_the_spread_is_pooled_over_the_compared_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    results = measured(replace(TABLE, seeds=4), score, monkeypatch)
    spread = measure_spread(results, "avg")
    assert spread is not None
    pooled = (variance([-1, 1, -1, 1]) + variance([1, 2, 3, 4])) / 2
    assert spread.sd == pytest.approx(pooled**0.5)
    assert spread.degrees == 6
    assert measure_spread(results, "far") is None


def test_cells_that_are_not_run_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row("dense"), Row("one", not_run={"far": "is too slow"}), Row("two")]
    results = measured(replace(TABLE, rows=rows, tested=["task", "far"]), score, monkeypatch)
    assert count_comparisons(results) == 5


def test_a_plan_says_what_its_seeds_can_show(monkeypatch: pytest.MonkeyPatch) -> None:
    results = measured(replace(TABLE, seeds=10), score, monkeypatch)
    assert count_comparisons(results) == 4
    far, average = describe_power(results, 0.8, None).splitlines()
    assert average.startswith("10 seeds, avg: can show ")
    assert average.endswith("(measured, 18 degrees of freedom)")
    assert far.endswith(
        "after Holm's correction over 4 comparisons, at a standard deviation of 1 points (a guess)"
    )
    *_, given = describe_power(results, 0.8, 3.0).splitlines()
    assert given.endswith("at a standard deviation of 3 points (given)")  # though one is measured
    shown = float(far.split("can show ")[1].split()[0])
    effect = find_detectable_effect(10, 0.05 / 4, 0.8)
    assert shown == pytest.approx(effect, abs=0.05)
    few = describe_power(measured(replace(TABLE, seeds=5), score, monkeypatch), 0.8, None)
    assert "no difference can be shown; 4 comparisons need at least 8 seeds" in few
    none = replace(results, table=replace(TABLE, comparisons=[]))
    assert describe_power(none, 0.8, None) == ""


def test_the_seeds_needed_are_those_at_the_strictest_step_of_holm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = measured(replace(TABLE, seeds=2, average=["task", "far"]), score, monkeypatch)
    (line,) = describe_needed_seeds(results, 0.8, 0.5, None).splitlines()
    needed = find_needed_seeds(0.5, 0.05 / 2, 0.8)
    assert line.startswith(
        f"avg: {needed} seeds to show 0.5 points with power 0.8, after Holm's correction over 2"
    )
    (line,) = describe_needed_seeds(results, 0.8, 0.001, None).splitlines()
    assert line.startswith("avg: more than 1000 seeds")


@pytest.mark.parametrize("name", list_choices("table"))
def test_the_seeds_of_every_table_can_show_a_difference_and_decide_a_claim(name: str) -> None:
    table = load_table(name)
    columns = [*(column.name for column in table.columns), *([AVERAGE] if table.average else [])]
    tested = [c for c in columns if c in table.tested or c not in table.average]
    comparisons = len(table.backbones) * len(list_pairs(table)) * len(tested)
    claims = len(table.backbones) * len(table.claims)
    assert table.seeds == 10
    assert comparisons * smallest_p(table.seeds) <= ALPHA
    assert claims * smallest_p(table.seeds, "greater") <= ALPHA


def test_a_family_of_too_many_comparisons_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn permutations bound the p-value, so that no number of seeds is enough."""
    results = measured(replace(TABLE, seeds=5), score, monkeypatch)
    monkeypatch.setattr("sparsead.report.power.count_comparisons", lambda _: 300)
    for told in (
        describe_power(results, 0.8, None),
        describe_needed_seeds(results, 0.8, 0.5, None),
    ):
        assert (
            "no difference can be shown among 300 comparisons, whatever the number of seeds" in told
        )
