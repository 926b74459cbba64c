"""The power of a table's comparisons: which difference so many paired seeds can show.

A comparison is a two-sided paired permutation test, and Holm's correction over m comparisons asks
of the first of them a p-value of at most 5 % / m; the power is that of this strictest step. The
paired differences are taken to be normally distributed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import variance
from typing import TYPE_CHECKING, Any

from sparsead.errors.display import pluralize
from sparsead.report.comparisons import list_pairs
from sparsead.report.results import Results, is_random_pruning
from sparsead.report.statistics import ALPHA, ENUMERATED, fewest_pairs, smallest_p

if TYPE_CHECKING:
    import numpy as np

POWER = 0.8
"""The probability with which a difference is to be shown, unless another one is asked for."""

_GUESSED_SD = 1.0
"""Guess of the standard deviation of paired differences, in points, where nothing is measured."""

_SIMULATED = 2000
_RANDOM_STATE = 0
_MOST_SEEDS = 1000
_LARGEST_EFFECT = 50.0
"""In standard deviations: every test that has enough pairs shows it, as it does a larger one.

A larger one is taken for it, because an infinite one times 0 is not a number.
"""


@dataclass(frozen=True)
class Spread:
    """The standard deviation of a column's paired differences, in points.

    `degrees` is the number of degrees of freedom of a measured one; 0 says that it is not
    measured, but given by the user or a guess.
    """

    sd: float
    degrees: int = 0
    is_given: bool = False

    def __str__(self) -> str:
        return f"a standard deviation of {self.sd:.2g} points ({self._source()})"

    def _source(self) -> str:
        if self.is_given:
            return "given"
        if self.degrees:
            return f"measured, {pluralize(self.degrees, 'degree')} of freedom"
        return "a guess"


def describe_power(results: Results, power: float, sd: float | None) -> str:
    """Return one line for each tested column: which difference the planned seeds can show.

    Args:
        results: the table, with the runs that are recorded so far.
        power: probability of a significant result for a true difference of that size.
        sd: standard deviation in points of a pair's difference; None takes the measured one, and
            where none is measured a guess.
    """
    compared = count_comparisons(results)
    if not compared:
        return ""
    seeds = pluralize(results.table.seeds, "seed")
    return "".join(
        f"{seeds}, {label}: {_shown(results.table.seeds, spread, compared, power)}\n"
        for label, spread in _spreads(results, sd)
    )


def detectable_values(results: Results, power: float, sd: float | None) -> dict[str, Any]:
    """Return what `describe_power` says, for JSON; points are None where none can be shown."""
    compared = count_comparisons(results)
    seeds = results.table.seeds
    columns = []
    for label, spread in _spreads(results, sd) if compared else ():
        effect = find_detectable_effect(seeds, ALPHA / compared, power)
        points = None if effect is None else effect * spread.sd
        columns.append({"column": label, "points": points, **_spread_values(spread)})
    return {"power": power, "seeds": seeds, "comparisons": compared, "columns": columns}


def _spread_values(spread: Spread) -> dict[str, Any]:
    return {"sd": spread.sd, "measured": spread.degrees > 0}


def describe_needed_seeds(results: Results, power: float, effect: float, sd: float | None) -> str:
    """Return one line for each tested column: the seeds needed to show a difference of `effect`.

    Args:
        results: the table, with the runs that are recorded so far.
        power: probability of a significant result for a true difference of that size.
        effect: the difference, in points.
        sd: standard deviation in points of a pair's difference; None takes the measured one, and
            where none is measured a guess.
    """
    compared = count_comparisons(results)
    lines = []
    for label, spread, needed in _needed_seeds(results, compared, power, effect, sd):
        if fewest_pairs(compared) is None:
            lines.append(f"{label}: {_describe_too_many(compared)}\n")
            continue
        seeds = f"more than {_MOST_SEEDS} seeds" if needed is None else pluralize(needed, "seed")
        lines.append(
            f"{label}: {seeds} to show {effect:g} points{_terms(spread, compared, power)}\n"
        )
    return "".join(lines)


def needed_seeds_values(
    results: Results, power: float, effect: float, sd: float | None
) -> dict[str, Any]:
    """Return what `describe_needed_seeds` says, for JSON; above 1,000 the seeds are None."""
    compared = count_comparisons(results)
    columns = [
        {"column": label, "seeds": needed, **_spread_values(spread)}
        for label, spread, needed in _needed_seeds(results, compared, power, effect, sd)
    ]
    return {"effect": effect, "power": power, "comparisons": compared, "columns": columns}


def _needed_seeds(
    results: Results, compared: int, power: float, effect: float, sd: float | None
) -> Iterator[tuple[str, Spread, int | None]]:
    for label, spread in _spreads(results, sd):
        yield label, spread, find_needed_seeds(effect / spread.sd, ALPHA / compared, power)


def count_comparisons(results: Results) -> int:
    """Return the number of comparisons of a table once all of its runs are done."""
    table = results.table
    return sum(
        all(results.at(backbone, row, column).asked for row in pair)  # 0 where a row is not run
        for backbone in table.backbones
        for pair in list_pairs(table)
        if not is_random_pruning(results, backbone, pair[1])
        for column in results.tested
    )


def measure_spread(results: Results, column: str) -> Spread | None:
    """Return the pooled standard deviation of the paired differences in a column.

    It is pooled over the compared rows and the backbones; None with fewer than two degrees of
    freedom.
    """
    samples = [
        results.improvements(backbone, row, dense, column)
        for backbone in results.table.backbones
        for dense, row in list_pairs(results.table)
    ]
    samples = [sample for sample in samples if len(sample) > 1]
    degrees = sum(len(sample) - 1 for sample in samples)
    if degrees < 2:
        return None
    squares = sum((len(sample) - 1) * variance(sample) for sample in samples)
    return Spread((squares / degrees) ** 0.5, degrees) if squares else None


def compute_power(effect: float, n: int, level: float) -> float:
    """Return the probability that the test of n pairs is significant.

    Up to 13 pairs, for which the test enumerates all signs, it is simulated with 2,000 samples; for
    more pairs it is that of the paired t test, from the noncentral t distribution.

    Args:
        effect: true mean difference in standard deviations of the paired differences.
        n: number of pairs.
        level: largest p-value that counts as significant.
    """
    if smallest_p(n) > level:
        return 0.0
    effect = min(effect, _LARGEST_EFFECT)
    if n > ENUMERATED:
        from scipy.stats import nct, t

        least, noncentrality = t.isf(level / 2, n - 1), effect * n**0.5
        upper = nct.sf(least, n - 1, noncentrality)
        # The lower tail, as an upper one: scipy's lower tail is nan for a large noncentrality.
        return float(upper + nct.sf(least, n - 1, -noncentrality))
    sums, signs = _signed_sums(n)
    shifted = abs(sums + effect * signs)
    observed = shifted[:, :1]  # the first assignment of signs leaves all as they are
    share = (shifted >= observed * (1 - 1e-12)).mean(axis=1)
    return float((share <= level * (1 + 1e-12)).mean())


def find_detectable_effect(n: int, level: float, power: float) -> float | None:
    """Return the smallest effect that n pairs show with this power; None if there is none."""
    if smallest_p(n) > level:
        return None
    low, high = 0.0, _LARGEST_EFFECT
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if compute_power(middle, n, level) >= power else (middle, high)
    return high


def find_needed_seeds(effect: float, level: float, power: float) -> int | None:
    """Return the smallest number of pairs that show an effect with this power; None above 1,000."""
    enough = (n for n in range(2, _MOST_SEEDS + 1) if compute_power(effect, n, level) >= power)
    return next(enough, None)


@cache
def _signed_sums(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of n standard normal numbers under each assignment of signs, and of the signs.

    Of an assignment and its opposite, whose sums differ in sign alone, one is enough.

    Returns:
        Arrays of shape (samples, 2ⁿ⁻¹) and (2ⁿ⁻¹,).
    """
    import numpy as np

    samples = np.random.default_rng(_RANDOM_STATE).standard_normal((_SIMULATED, n))
    bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
    signs = 1.0 - 2.0 * bits
    return samples @ signs.T, signs.sum(axis=1)


def _spreads(results: Results, sd: float | None) -> Sequence[tuple[str, Spread]]:
    heads = {column.name: column.label for column in results.table.columns}
    return [
        (heads.get(column, results.table.average_label), _find_spread(results, column, sd))
        for column in results.tested
    ]


def _find_spread(results: Results, column: str, sd: float | None) -> Spread:
    if sd is not None:
        return Spread(sd, is_given=True)
    return measure_spread(results, column) or Spread(_GUESSED_SD)


def _shown(n: int, spread: Spread, compared: int, power: float) -> str:
    effect = find_detectable_effect(n, ALPHA / compared, power)
    if effect is None:
        least = fewest_pairs(compared)
        if least is None:
            return _describe_too_many(compared)
        comparisons = pluralize(compared, "comparison")
        return f"no difference can be shown; {comparisons} need at least {least} seeds"
    return f"can show {effect * spread.sd:.2g} points{_terms(spread, compared, power)}"


def _describe_too_many(compared: int) -> str:
    comparisons = pluralize(compared, "comparison")
    return f"no difference can be shown among {comparisons}, whatever the number of seeds"


def _terms(spread: Spread, compared: int, power: float) -> str:
    family = pluralize(compared, "comparison")
    return f" with power {power:g}, after Holm's correction over {family}, at {spread}"
