"""Statistics of one pair of runs over the examples on which both were evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsead.report.statistics import ALPHA, find_fault

if TYPE_CHECKING:
    from sparsead.report.statistics import Array


def examples_interval(difference: float, resampled: Array) -> tuple[float, float] | None:
    """Return the 95 % interval of a difference of two runs over evaluated examples.

    It is the difference ± 1.96 times the standard deviation over the resamples (Efron, 1979). It
    says what these two runs would score on other examples, not what other seeds would.

    Args:
        difference: of the scores.
        resampled: the same difference on resampled examples, of shape (resamples,).

    Returns:
        None if the difference is not defined on a resample, or the same on all of them.
    """
    from scipy.stats import norm

    if find_fault(resampled):
        return None
    half = float(norm.ppf(1 - ALPHA / 2) * resampled.std(ddof=1))
    return difference - half, difference + half


def mcnemar_p(only_one: int, only_other: int) -> float:
    """Return the two-sided p-value of McNemar's exact test for one pair of runs (McNemar, 1947).

    Under the null hypothesis that both runs are right equally often, an example that only one of
    them classifies rightly is equally likely to be of either kind.

    Args:
        only_one: number of examples that only the first run classifies rightly.
        only_other: likewise of the second.
    """
    if only_one + only_other == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_one, only_one + only_other).pvalue)
