"""The parts of a claim: statements about mean differences over paired seeds, each tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from sparsead.report.signed import format_interval, format_signed
from sparsead.report.statistics import permutation_p, smallest_p, subtract, t_interval


@dataclass(frozen=True)
class Requirement:
    """A statement about the mean difference of two rows over paired seeds.

    Attributes:
        label: what is compared.
        claimed: what the statement says about the mean difference.
        unit: unit of the difference.
        n: number of paired seeds.
        difference: mean difference; None without a pair.
        interval: its 95 % confidence interval; None for fewer than two pairs, and for equal ones.
        p_holds: p-value of the null hypothesis that the statement is false; a small one shows that
            it is true.
        p_fails: p-value of the null hypothesis that it is true, or at its bound; a small one shows
            that it is false.
        lost: the rows with failed or collapsed seeds.
        published: the difference that the paper prints; None if it prints none.
        sides: number of ways in which the statement can be false, for which `p_fails` is corrected.
    """

    label: str
    claimed: str
    unit: str = "points"
    n: int = 0
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_holds: float = 1.0
    p_fails: float = 1.0
    lost: tuple[str, ...] = field(default=())
    published: float | None = None
    sides: int = 1

    @property
    def smallest_p_fails(self) -> float:
        """The smallest value that `p_fails` can have with so many pairs."""
        return min(1.0, self.sides * smallest_p(self.n, "greater"))

    @classmethod
    def above(
        cls,
        label: str,
        paired: Sequence[float],
        bound: float = 0.0,
        *,
        unit: str = "points",
        lost: Sequence[str] = (),
    ) -> Requirement:
        """Test whether the mean difference exceeds `bound`, by one-sided permutation tests."""
        claimed = f"above {bound:+g}" if bound else "above 0"
        if not paired:
            return cls(label, claimed, unit, lost=tuple(lost))
        shifted = [subtract(difference, bound) for difference in paired]
        return cls(
            label,
            claimed,
            unit,
            len(paired),
            fmean(paired),
            t_interval(paired),
            permutation_p(shifted, "greater"),
            permutation_p(shifted, "less"),
            tuple(lost),
        )

    @classmethod
    def within(
        cls, label: str, paired: Sequence[float], margin: float, *, lost: Sequence[str] = ()
    ) -> Requirement:
        """Test whether the mean difference lies within ±`margin`.

        It is an equivalence test by two one-sided tests, TOST (Schuirmann, 1987): the statement
        holds if the mean difference is significantly above -`margin` and significantly below
        `margin`, so that `p_holds` is the larger p-value of the two. The opposite is that it is
        below -`margin` or above `margin`: `p_fails` is the smaller p-value of these two tests,
        doubled.
        """
        low = cls.above(label, paired, -margin, lost=lost)
        high = cls.above(label, paired, margin, lost=lost)
        return cls(
            label,
            f"within ±{margin:g}",
            low.unit,
            low.n,
            low.difference,
            low.interval,
            max(low.p_holds, high.p_fails),
            min(1.0, 2 * min(low.p_fails, high.p_holds)),
            low.lost,
            sides=2,
        )

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.label}: no paired seeds"
        interval = "" if self.interval is None else f" {format_interval(self.interval)}"
        paper = "" if self.published is None else f"; in the paper {self.published:+.3g}"
        return (
            f"{self.label}: {format_signed(self.difference)}{interval} {self.unit} "
            f"(claimed: {self.claimed}{paper}), p = {self.p_holds:.3g}, n = {self.n}"
        )
