"""Split the variance of a score over the seeds of the data, the initial weights and the mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from sparsead.config.seeds import Seeds

REST = "interactions"

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Component:
    """The part of a score's variance that one cause explains.

    Attributes:
        name: "data", "init", "mask", or REST for what is left, the interactions of these.
        variance: the estimate, in squared units of the score. It is unbiased, and may therefore be
            below 0 where the true value is near 0.
        p: of the F test that the variance is 0; None for the rest.
    """

    name: str
    variance: float
    p: float | None


def latin_square(size: int, *, masked: bool) -> list[Seeds]:
    """Return size² combinations of seeds in which each pair of seeds of two parts occurs once.

    Args:
        size: number of seeds of each part, at least 3.
        masked: whether the runs have a mask; otherwise its seed is that of the initial weights.
    """
    return [
        Seeds(data, init, (data + init) % size + 1 if masked else init)
        for data in range(1, size + 1)
        for init in range(1, size + 1)
    ]


def decompose(scores: Mapping[Seeds, float], parts: Sequence[str]) -> list[Component]:
    """Return the variance components of a Latin square, or of a whole square of two parts.

    The model is y = μ + a + b + c + rest with independent random effects, whose variances are
    estimated by the mean squares of an analysis of variance (Searle et al., Variance Components,
    1992, chapter 4): (MS of a part - MS of the rest) / K, with K runs for each of the K seeds of a
    part. Each pair of seeds occurs once, so that interactions count as rest and bias no estimate.

    Args:
        scores: the scores of all runs of `latin_square`.
        parts: "data" and "init", and "mask" if the runs have one.
    """
    from scipy.stats import f as f_distribution

    values = list(scores.values())
    size = round(len(values) ** 0.5)
    mean = fmean(values)
    total = sum((value - mean) ** 2 for value in values)
    squares = {part: _between(scores, part, size, mean) for part in parts}
    freedom = len(values) - 1 - len(parts) * (size - 1)
    # Smaller sums of squares are rounding errors: of the sums, or of the scores themselves.
    least = max(_ROUNDING * total, _ROUNDING**2 * sum(value**2 for value in values))
    rest = _or_zero(total - sum(squares.values()), least) / freedom
    components = []
    for part in parts:
        between = _or_zero(squares[part], least) / (size - 1)
        # Where nothing is left to compare with, a cause has an influence or it has none.
        p = float(not between)
        if rest:
            p = float(f_distribution.sf(between / rest, size - 1, freedom))
        components.append(Component(part, (between - rest) / size, p))
    return [*components, Component(REST, rest, None)]


def _or_zero(squares: float, least: float) -> float:
    return squares if squares > least else 0.0


def _between(scores: Mapping[Seeds, float], part: str, size: int, mean: float) -> float:
    """Return the sum of squares between the seeds of a part."""
    by_seed: dict[int, list[float]] = {}
    for seeds, score in scores.items():
        by_seed.setdefault(getattr(seeds, part), []).append(score)
    return size * sum((fmean(group) - mean) ** 2 for group in by_seed.values())
