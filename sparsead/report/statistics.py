"""Statistics over paired seeds: estimates, intervals, permutation tests, Holm's correction.

Two rows are paired where a seed is the same in both: it decides the order of the batches, the head
and every adapter weight that is not pruned, so that the difference of a pair is the method's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Literal, NamedTuple

ALPHA = 0.05
"""Level of the tests, and one minus that of the intervals."""

Scores = Mapping[int, float]
"""A score by seed."""

Alternative = Literal["two-sided", "greater", "less"]

_RESAMPLES = 9999
_RANDOM_STATE = 0


class Estimate(NamedTuple):
    """A mean over seeds and its sample standard deviation, None for a single seed."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Estimate from one value per seed."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + ("" if self.sd is None else f" ± {self.sd:.2f}")


class Comparison(NamedTuple):
    """A mean difference over n paired seeds, its interval, and the p-value against none.

    The interval is None for a single pair.
    """

    n: int
    difference: float
    interval: tuple[float, float] | None
    p: float


def average(columns: Sequence[Scores]) -> dict[int, float]:
    """Average over tasks within each seed; seeds that lack a task are left out."""
    seeds = set.intersection(*(set(scores) for scores in columns)) if columns else set()
    return {seed: fmean(scores[seed] for scores in columns) for seed in sorted(seeds)}


def pair_differences(row: Scores, baseline: Scores) -> list[float]:
    """Return the differences over the seeds that both have, sorted by size.

    Sorted, so that no result depends on the order of the seeds.
    """
    return sorted(row[seed] - baseline[seed] for seed in row.keys() & baseline.keys())


def compare(row: Scores, baseline: Scores) -> Comparison | None:
    """Compare two rows over the seeds that both have; None where they share none."""
    paired = pair_differences(row, baseline)
    if not paired:
        return None
    return Comparison(len(paired), fmean(paired), bootstrap_interval(paired), permutation_p(paired))


def permutation_p(paired: Sequence[float], alternative: Alternative = "two-sided") -> float:
    """Return the p-value of the paired permutation test that the mean difference is zero.

    `paired` has at least one difference. Under the null hypothesis each is as likely to have the
    other sign (Fisher, 1935).
    All 2ⁿ assignments of signs are enumerated up to n = 13, and 9,999 drawn beyond: p is then
    (r + 1) / (9,999 + 1), r being those at least as extreme.
    """
    if len(paired) == 1:  # scipy wants two; the other assignment of signs mirrors the only pair
        towards = paired[0] if alternative == "greater" else -paired[0]
        return 0.5 if alternative != "two-sided" and towards > 0 else 1.0
    import numpy as np
    from scipy.stats import permutation_test

    test = permutation_test(
        (np.asarray(paired),),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        alternative=alternative,
        rng=np.random.default_rng(_RANDOM_STATE),
    )
    return min(float(test.pvalue), 1.0)


def smallest_p(n: int, alternative: Alternative = "two-sided") -> float:
    """Return the smallest p-value that `permutation_p` can give n pairs: 2/2ⁿ, or 1/2ⁿ one-sided.

    With few seeds it lies above the level of the test, and then no difference, however large, can
    be significant.
    """
    sides = 2 if alternative == "two-sided" else 1
    return min(1.0, sides * max(0.5**n, 1 / (_RESAMPLES + 1)))


def bootstrap_interval(paired: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of the mean under resampling of pairs (Efron, 1979).

    None for fewer than two pairs. For few pairs it is too narrow: a guide, beside the test.
    """
    if len(paired) < 2:
        return None
    import numpy as np
    from scipy.stats import bootstrap

    interval = bootstrap(
        (np.asarray(paired),),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=1 - ALPHA,
        method="percentile",
        rng=np.random.default_rng(_RANDOM_STATE),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down correction of the p-values, in their order (Holm, 1979).

    Of m p-values in rising order, the i-th becomes the largest of (m − j + 1) · p_j over j ≤ i,
    capped at 1.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    rising = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(rising):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(largest, 1.0)
    return corrected
