from __future__ import annotations

from collections.abc import Callable
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from sparsead.report.pair_of_runs import mcnemar_p
from sparsead.report.requirements import Requirement
from sparsead.report.statistics import (
    Alternative,
    average,
    compare,
    holm,
    pair_differences,
    permutation_p,
    smallest_p,
    t_interval,
)

ALTERNATIVES: tuple[Alternative, ...] = ("two-sided", "greater", "less")
paired = st.lists(st.integers(-8, 8).map(lambda eighths: eighths / 8), min_size=1, max_size=7)
p_values = st.lists(st.floats(0, 1), max_size=8)


def enumerated_p(values: list[float], alternative: Alternative) -> float:
    """All assignments of signs, written out; eighths add exactly, so that ties are ties."""
    total = sum(values)
    sums = [
        sum(sign * value for sign, value in zip(signs, values, strict=True))
        for signs in product((1, -1), repeat=len(values))
    ]
    greater = sum(s >= total for s in sums) / len(sums)
    less = sum(s <= total for s in sums) / len(sums)
    return {"greater": greater, "less": less, "two-sided": min(1, 2 * min(greater, less))}[
        alternative
    ]


@settings(max_examples=30)
@given(paired, st.sampled_from(ALTERNATIVES))
def test_the_permutation_test_is_exact(values: list[float], alternative: Alternative) -> None:
    assert permutation_p(values, alternative) == pytest.approx(enumerated_p(values, alternative))


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(-5, 5)), min_size=1, max_size=9),
    st.sampled_from((277, 408, 1500, 40430)),
    st.sampled_from(ALTERNATIVES),
)
def test_equal_sums_of_shares_of_examples_are_ties(
    right: list[tuple[int, int]], examples: int, alternative: Alternative
) -> None:
    scores = [(100 * (k / examples), 100 * ((k + more) / examples)) for k, more in right]
    differences = [after - before for before, after in scores]
    whole = [float(more) for _, more in right]
    assert permutation_p(differences, alternative) == enumerated_p(whole, alternative)


@pytest.mark.parametrize("n", [1, 2, 5, 13, 14, 15, 17, 19, 80])
def test_the_smallest_p_is_that_of_differences_of_one_sign(n: int) -> None:
    assert permutation_p([0.5] * n) == pytest.approx(smallest_p(n))
    assert permutation_p([0.5] * n, "greater") == pytest.approx(smallest_p(n, "greater"))
    assert permutation_p([0.5] * n, "less") == pytest.approx(1)


def test_fourteen_pairs_are_tested_as_exactly_as_drawn_signs_allow() -> None:
    """All 2¹⁴ assignments of signs, of which 9,999 are drawn: p is theirs but for its error."""
    values = np.random.default_rng(2).normal(0.4, 1.0, 14).round(2)
    sums = (1.0 - 2.0 * (np.arange(2**14)[:, None] >> np.arange(14) & 1)) @ values
    exact = 2 * (sums >= values.sum() - 1e-9).mean()
    assert 0.05 < exact < 0.5
    assert permutation_p(values.tolist()) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("difference", [0.4 - 0.3, 0.3 - 0.2, 0.8 - 0.7])
def test_differences_at_the_bound_are_ties(difference: float) -> None:
    """As if every seed had saved one of ten epochs: rounding must not decide such a claim."""
    found = Requirement.above("saved", [difference] * 10, 0.1)
    assert (found.p_holds, found.p_fails) == (1, 1)


def test_scores_that_differ_by_rounding_alone_are_equal() -> None:
    row = dict.fromkeys(range(10), 100 * (0.1 + 0.2))
    found = compare(row, dict.fromkeys(row, 100 * 0.3))
    assert found is not None
    assert (found.difference, found.p) == (0, 1)


def test_two_sided_smallest_p_is_two_in_two_to_the_n() -> None:
    assert [smallest_p(n) for n in (1, 2, 3, 5)] == [1, 0.5, 0.25, 0.0625]


def test_a_comparison_pairs_by_seed_and_ignores_their_order() -> None:
    row, dense = {1: 70.0, 2: 72.0, 3: 71.5, 9: 99.0}, {3: 70.0, 2: 71.5, 1: 70.5, 8: 1.0}
    found = compare(row, dense)
    assert found is not None
    assert found.n == 3
    assert found.difference == pytest.approx(0.5)
    assert pair_differences(row, dense) == [-0.5, 0.5, 1.5]
    assert found == compare(dict(reversed(row.items())), dense)
    mirrored = compare(dense, row)
    assert mirrored is not None
    assert mirrored.difference == -found.difference
    assert mirrored.p == found.p
    assert compare(row, {7: 1.0}) is None


def test_the_t_interval_by_hand() -> None:
    # mean 1, sd √2, t with one degree of freedom: tan(π · 0.475) = 12.706
    assert t_interval([0, 2]) == pytest.approx((1 - 12.7062, 1 + 12.7062), abs=1e-4)
    # mean 3, sd √2.5; t with 4 degrees of freedom from a printed table: 2.776
    half = 2.776 * (2.5 / 5) ** 0.5
    assert t_interval([1, 2, 3, 4, 5]) == pytest.approx((3 - half, 3 + half), abs=1e-3)
    assert t_interval([1.0]) is None
    assert t_interval([1.5, 1.5, 1.5]) is None  # that three are equal does not show that all are
    assert t_interval([0.9 - 0.8, 0.8 - 0.7, 0.1]) is None  # equal but for rounding


def draw_differences(kind: str, rng: np.random.Generator, n: int) -> np.ndarray:
    """Differences of n pairs, in points, whose true mean is 1.

    In the second and the third kind each run classifies RTE's 277 examples, so that scores are
    multiples of 1/277 and ties are common: in the middle of the scale, and near its end, where the
    distribution of a score is skewed.
    """
    if kind == "normal":
        return rng.normal(1, 0.8, n)
    dense = {"accuracy": 0.60, "high accuracy": 0.96}[kind]
    return 100 / 277 * (rng.binomial(277, dense + 0.01, n) - rng.binomial(277, dense, n))


def count_covered(interval: Callable[..., Any], kind: str, n: int, repeats: int) -> float:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(repeats):
        found = interval(draw_differences(kind, rng, n).tolist())
        covered += found is not None and found[0] <= 1 <= found[1]
    return covered / repeats


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("kind", ["normal", "accuracy", "high accuracy"])
def test_the_t_interval_covers_the_true_difference_as_often_as_it_says(kind: str, n: int) -> None:
    assert 0.93 <= count_covered(t_interval, kind, n, 3000) <= 0.97


@pytest.mark.slow
def test_the_simulation_would_have_shown_that_a_percentile_bootstrap_covers_too_seldom() -> None:
    def percentile(paired: list[float]) -> tuple[float, float]:
        drawn = np.random.default_rng(0).choice(paired, (999, len(paired)))
        low, high = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
        return float(low), float(high)

    assert 0.81 <= count_covered(percentile, "normal", 5, 1000) <= 0.87


def test_mcnemar_by_hand() -> None:
    # of ten examples at most one by chance: (1 + 10) / 2¹⁰, and as many on the other side
    assert mcnemar_p(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar_p(9, 1) == mcnemar_p(1, 9)
    assert mcnemar_p(3, 3) == mcnemar_p(0, 0) == 1
    # with many examples it is the test of a normal distribution, corrected for continuity
    assert mcnemar_p(450, 550) == pytest.approx(2 * norm.sf(99 / 1000**0.5), rel=0.01)


def test_holm_by_hand() -> None:
    # rising: .005·4, .01·3, .03·2, .04·1 → .02, .03, .06, .04; never below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.5]) == [1, 1]
    assert holm([]) == []


@given(p_values)
def test_holm_lies_between_no_correction_and_bonferroni(raw: list[float]) -> None:
    corrected = holm(raw)
    for p, q in zip(raw, corrected, strict=True):
        assert p <= q <= min(1, p * len(raw)) + 1e-12
    pairs = sorted(zip(raw, corrected, strict=True))
    assert [q for _, q in pairs] == sorted(corrected)


@given(p_values, st.randoms())
def test_holm_does_not_depend_on_the_order(raw: list[float], random: Random) -> None:
    order = list(range(len(raw)))
    random.shuffle(order)
    shuffled = holm([raw[i] for i in order])
    assert shuffled == [holm(raw)[i] for i in order]


def test_an_average_is_over_tasks_within_a_seed() -> None:
    cola, rte = {1: 50.0, 2: 60.0, 3: 0.0}, {2: 70.0, 1: 60.0}
    assert average([cola, rte]) == {1: 55, 2: 65}
    assert average([]) == {}
