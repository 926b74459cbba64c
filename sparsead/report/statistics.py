"""Statistics over paired seeds: estimates, confidence intervals, permutation tests, Holm.

A difference of two rows varies with the seeds, and with the examples on which the runs are
evaluated. `t_interval` and `permutation_p` account for the seeds alone: what they say holds for
these examples. `cross` accounts for both.

What two single runs show, on their examples alone, is in `pair_of_runs`.

Two runs of different rows form a pair if they have the same seed. The seed determines the order of
the batches and the initial values of the head and the adapter, so that the difference of a pair is
due to the method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from functools import cache
from statistics import fmean, stdev, variance
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sparsead.report.signed import format_score

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, numpy.dtype[Any]]

ALPHA = 0.05
"""Significance level of the tests; the confidence level of the intervals is 1 − ALPHA."""

Scores = Mapping[int, float]
"""Scores by seed."""

Resampled = Mapping[int, "Array"]
"""Scores on resampled examples by seed, each of shape (resamples,)."""

Alternative = Literal["two-sided", "greater", "less"]

FEWEST_CROSSED = 5
"""Paired seeds that `cross` needs; with fewer, its interval covers less than 93 %."""

FEWEST_EXAMPLES = 100
"""Examples that an interval over examples needs; on fewer, it can cover far less than 93 %."""

_RESAMPLES = 9999
_RANDOM_STATE = 0
_BITS = 62
"""Signs that differ between any two assignments that are drawn; a number of 64 bits has them."""
_ROUNDING = 1e-9
"""Rounding error, in points or relative to the values, up to which two values count as equal."""

ENUMERATED = 13
"""Largest number of pairs for which the permutation test enumerates all assignments of signs."""


class Estimate(NamedTuple):
    """Mean and sample standard deviation over seeds; the latter is None for a single seed."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Return the estimate from one value per seed."""
        mean, n = fmean(values), len(values)
        # statistics.stdev computes with fractions, which takes most of the time of a long table.
        return cls(mean, math.dist(values, [mean] * n) / math.sqrt(n - 1) if n > 1 else None)

    def __str__(self) -> str:
        return format_score(self.mean) + ("" if self.sd is None else f" ± {self.sd:.2f}")


class MeanInterval(NamedTuple):
    """The ends of the interval of a mean over seeds; None for a single seed."""

    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"{format_score(self.low)} to {format_score(self.high)}"


class Crossed(NamedTuple):
    """A mean difference's 95 % interval and two-sided p-value, over seeds and examples.

    `resamples` is the number of resamples of the examples from which both were computed.
    """

    interval: tuple[float, float]
    p: float
    resamples: int


class Comparison(NamedTuple):
    """The mean difference of two rows over `n` paired seeds.

    `interval` is its 95 % confidence interval over the seeds, None for a single pair. `p` is the
    two-sided p-value of the permutation test of the null hypothesis that there is no difference.
    Both account for the seeds alone. `crossed` accounts for the examples too, and is None where
    these are not known or the seeds are fewer than `FEWEST_CROSSED`, and where the scores on
    resampled examples allow none; `fault` then says why.
    """

    n: int
    difference: float
    interval: tuple[float, float] | None
    p: float
    crossed: Crossed | None = None
    fault: str = ""


def average(columns: Sequence[Scores]) -> dict[int, float]:
    """Average over tasks within each seed; seeds that lack a task are left out."""
    seeds = set.intersection(*(set(scores) for scores in columns)) if columns else set()
    return {seed: fmean(scores[seed] for scores in columns) for seed in sorted(seeds)}


def pair_differences(row: Scores, baseline: Scores) -> list[float]:
    """Return the differences over the common seeds in ascending order.

    They are sorted so that no result depends on the order of the seeds.
    """
    return sorted(subtract(row[seed], baseline[seed]) for seed in row.keys() & baseline.keys())


def subtract(one: float, other: float) -> float:
    """Return the difference of two numbers, 0 where they are equal but for rounding errors.

    A test would count the sign of such an error.
    """
    equal = math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
    return 0.0 if equal else one - other


def compare(
    row: Scores,
    baseline: Scores,
    resampled_row: Resampled | None = None,
    resampled_baseline: Resampled | None = None,
) -> Comparison | None:
    """Compare two rows over their common seeds; None if they have none.

    Args:
        row: its scores by seed.
        baseline: likewise.
        resampled_row: its scores on resamples of the examples; None if they are not known.
        resampled_baseline: likewise, on the same resamples.
    """
    paired = pair_differences(row, baseline)
    if not paired:
        return None
    interval, p = t_interval(paired), permutation_p(paired)
    found = Comparison(len(paired), fmean(paired), interval, p)
    if resampled_row is None or resampled_baseline is None or len(paired) < FEWEST_CROSSED:
        return found
    resampled = _pair_resampled(row.keys() & baseline.keys(), resampled_row, resampled_baseline)
    if resampled is None:
        return found
    fault = find_fault(resampled.mean(axis=1))
    return found._replace(crossed=cross(paired, resampled), fault=fault)


def _pair_resampled(seeds: Set[int], one: Resampled, other: Resampled) -> Array | None:
    """Return the differences on resamples of the examples; None if a seed lacks them."""
    import numpy as np

    if not seeds <= one.keys() & other.keys():
        return None
    return np.stack([one[seed] - other[seed] for seed in sorted(seeds)], axis=1)


def find_fault(resampled: Array) -> str:
    """Return why values on resampled examples give no interval; empty if they give one.

    Args:
        resampled: a score or a difference on each resample, of shape (resamples,), in points.
    """
    import numpy as np

    if not np.isfinite(resampled).all():
        return "not defined on a resample of the examples"
    if np.ptp(resampled) <= _ROUNDING:
        return "the same on every resample of the examples"
    return ""


def cross(differences: Sequence[float], resampled: Array) -> Crossed | None:
    """Return the interval and the test of a mean difference over seeds and examples.

    Seeds and examples are two crossed random factors: each seed's runs are evaluated on the same m
    examples. With the variances σs² of the seeds, σe² of the examples and σ² of the residual, the
    mean over n seeds has the variance V = σs²/n + σe²/m + σ²/(nm). Three quantities are computed:

    - A, the variance of the n differences divided by n, estimates σs²/n + σ²/(nm);
    - B, the bootstrap variance of their mean over resampled examples, σe²/m + σ²/(nm);
    - C, the mean bootstrap variance of a single seed's difference, σe²/m + σ²/m.

    D = (C − B) / (n − 1) estimates σ²/(nm), which A + B contains twice. Hence the estimate
    V = A + max(B − D, 0), or B / 2 if that is larger. The quantile is Student's with
    Satterthwaite's (1946) degrees of freedom. The t interval over the seeds alone has fewer
    degrees of freedom, so that it can be the wider one; then it is returned in place of the other.

    A bootstrap that resamples seeds and examples at once would contain σ²/(nm) three times (Owen,
    2007), and be too narrow for few seeds. The tests simulate the coverage of this one on 200 to
    872 examples, where it is 93 to 97 %. On fewer it can be less for scores near their end, such as
    accuracies of 97 to 99 %, because few examples are wrong: 88 % on 100.

    Args:
        differences: of n seeds.
        resampled: the same differences on resampled examples, of shape (resamples, n); a resample
            is the same for all seeds.

    Returns:
        None for fewer than `FEWEST_CROSSED` seeds, and where the mean difference is not defined on
        a resample, or is the same on all of them, as if the examples had no influence.
    """
    from scipy.stats import t

    n = len(differences)
    if n < FEWEST_CROSSED or find_fault(resampled.mean(axis=1)):
        return None
    mean, of_seeds = fmean(differences), variance(differences) / n
    of_examples = float(resampled.mean(axis=1).var(ddof=1))
    of_single = float(resampled.var(axis=0, ddof=1).mean())
    of_both = max(of_single - of_examples, 0.0) / (n - 1)
    whole = max(of_seeds + max(of_examples - of_both, 0.0), of_examples / 2)
    # The examples' degrees of freedom, their number less one, are too many to matter where there
    # are `FEWEST_EXAMPLES`.
    freedom = whole**2 / (of_seeds**2 / (n - 1)) if of_seeds else float("inf")
    tests = [(whole, freedom), *([(of_seeds, n - 1)] if of_seeds else [])]
    half = max(float(t.ppf(1 - ALPHA / 2, free)) * part**0.5 for part, free in tests)
    p = max(2 * float(t.sf(abs(mean) / part**0.5, free)) for part, free in tests)
    return Crossed((mean - half, mean + half), p, len(resampled))


def permutation_p(paired: Sequence[float], alternative: Alternative = "two-sided") -> float:
    """Return the p-value of the paired permutation test of mean difference zero (Fisher, 1935).

    Under the null hypothesis, the sign of each difference is equally likely to be plus or minus.
    All 2ⁿ assignments of signs are enumerated for n ≤ 13. For larger n, 9,999 different ones are
    drawn at random besides the observed one, and p = (r + 1) / (9,999 + 1), where r of them are at
    least as extreme as the data (Phipson and Smyth, 2010). Sums that differ by rounding alone are
    equal; scipy's permutation_test counts some of them as less.

    Args:
        paired: n ≥ 1 differences.
        alternative: the alternative hypothesis about the mean difference.
    """
    import numpy as np

    differences = np.asarray(paired, dtype=float)
    drawn = len(paired) > ENUMERATED
    sums = _signs(len(paired)) @ differences
    observed = differences.sum()
    # Scores are shares of examples, so that sums are often equal but for rounding.
    tolerance = _ROUNDING * np.abs(differences).sum()
    counts = {
        "greater": (sums >= observed - tolerance).sum(),
        "less": (sums <= observed + tolerance).sum(),
    }
    shares = {side: (count + drawn) / (len(sums) + drawn) for side, count in counts.items()}
    return float(shares[alternative] if alternative in shares else min(1, 2 * min(shares.values())))


@cache
def _signs(n: int) -> Array:
    """Return assignments of signs to n differences, 1 and -1: all of them, or those drawn.

    Of those that are drawn none is the observed one, so that `smallest_p` is attained.
    """
    import numpy as np

    if n <= ENUMERATED:
        return 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    rng, told = np.random.default_rng(_RANDOM_STATE), min(n, _BITS)
    numbers = 1 + rng.choice(2**told - 1, _RESAMPLES, replace=False)
    first = numbers[:, None] >> np.arange(told) & 1
    return 1.0 - 2.0 * np.hstack([first, rng.integers(0, 2, (_RESAMPLES, n - told))])


def smallest_p(n: int, alternative: Alternative = "two-sided") -> float:
    """Return the smallest p-value attainable with n pairs: 2/2ⁿ, or 1/2ⁿ for a one-sided test.

    If it exceeds the significance level, n is too small: no difference, however large, can be
    significant.
    """
    sides = 2 if alternative == "two-sided" else 1
    return min(1.0, sides * max(0.5**n, 1 / (_RESAMPLES + 1)))


def fewest_pairs(tests: int) -> int | None:
    """Return the smallest number of pairs with which one of so many tests could be significant.

    None if no number is enough: above 13 pairs the assignments of signs are drawn, which bounds p.
    """
    return next((n for n in range(1, ENUMERATED + 2) if tests * smallest_p(n) <= ALPHA), None)


def t_interval(paired: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % t interval of the mean difference over seeds (Student, 1908).

    It is mean ± t · sd / √n, with the 97.5 % quantile t of Student's distribution with n − 1
    degrees of freedom. It accounts for the variation over seeds, on the same evaluated examples.
    For differences from a normal distribution it covers their mean in 95 % of cases,
    whatever n is; the percentile bootstrap (Efron, 1979) does so in 84 % with n = 5.

    Args:
        paired: n differences; None is returned for fewer than two, and for equal ones: that they
            do not vary does not show that other seeds would not.
    """
    if len(paired) < 2 or not any(subtract(each, paired[0]) for each in paired):
        return None
    from scipy.stats import t

    half = float(t.ppf(1 - ALPHA / 2, len(paired) - 1)) * stdev(paired) / len(paired) ** 0.5
    return fmean(paired) - half, fmean(paired) + half


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values after Holm's step-down correction, in the given order (Holm, 1979).

    Of m p-values sorted in ascending order, the i-th becomes the maximum of (m − j + 1) · p_j over
    all j ≤ i, capped at 1.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    rising = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(rising):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(largest, 1.0)
    return corrected
