"""Test the claims of a table, such as those of the paper, on the measured scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from sparsead.errors import ConfigError, unknown
from sparsead.report.formats import pluralize
from sparsead.report.histories import measure_savings
from sparsead.report.results import Results, describe_lost
from sparsead.report.statistics import (
    ALPHA,
    bootstrap_interval,
    holm,
    pair_differences,
    permutation_p,
    smallest_p,
)
from sparsead.tables.cells import AVERAGE

Claim = Mapping[str, Any]


@dataclass(frozen=True)
class Inequality:
    """One inequality of a claim: the mean difference over paired seeds exceeds `bound`.

    `p_above` is the one-sided p-value of the null hypothesis that the mean difference is at most
    `bound`, `p_below` that of the null hypothesis that it is at least `bound`. `lost` names the
    rows with failed or collapsed seeds.
    """

    label: str
    unit: str
    bound: float
    n: int
    difference: float | None
    interval: tuple[float, float] | None
    p_above: float
    p_below: float
    lost: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        label: str,
        paired: Sequence[float],
        bound: float,
        unit: str = "points",
        lost: Sequence[str] = (),
    ) -> Inequality:
        """Test one inequality on the paired seeds' differences, given in `unit`."""
        if not paired:
            return cls(label, unit, bound, 0, None, None, 1.0, 1.0, tuple(lost))
        shifted = [difference - bound for difference in paired]
        above, below = permutation_p(shifted, "greater"), permutation_p(shifted, "less")
        interval = bootstrap_interval(paired)
        n, mean = len(paired), fmean(paired)
        return cls(label, unit, bound, n, mean, interval, above, below, tuple(lost))

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.label}: no paired seeds"
        low_high = ", ".join(f"{end:+.2f}" for end in self.interval or ())
        interval = f" [{low_high}]" if low_high else ""
        wanted = f" (claimed: above {self.bound:+g})" if self.bound else ""
        return (
            f"{self.label}: {self.difference:+.2f}{interval} {self.unit}{wanted}, "
            f"p = {self.p_above:.3g}, n = {self.n}"
        )


@dataclass(frozen=True)
class Verdict:
    """A claim about one backbone, with the tested inequalities of which it consists."""

    text: str
    kind: str
    backbone: str
    parts: tuple[Inequality, ...]

    @property
    def n(self) -> int:
        """The smallest number of paired seeds among the inequalities."""
        return min((part.n for part in self.parts), default=0)

    @property
    def p_holds(self) -> float:
        """The p-value of the whole claim: the largest one, because every inequality must hold."""
        return max((part.p_above for part in self.parts), default=1.0)

    @property
    def p_fails(self) -> float:
        """The p-value against the claim: the smallest one after Holm's correction.

        One violated inequality refutes the claim, so that the tests are corrected for their number.
        """
        return min(holm([part.p_below for part in self.parts]), default=1.0)

    @property
    def verdict(self) -> str:
        """Whether the claim holds, does not hold, or cannot be decided at the 5 % level."""
        if self.n and self._lost:
            return "cannot be told: seeds failed or collapsed"
        if self.n and self.p_holds <= ALPHA:
            return "holds"
        if self.n and self.p_fails <= ALPHA:
            return "does not hold"
        return f"cannot be told with {pluralize(self.n, 'seed')}"

    @property
    def reason(self) -> str:
        """Why no decision was possible, if seeds are lost or too few; otherwise empty."""
        if self.n == 0:
            return "not measured yet"
        if self._lost:
            return "; ".join(self._lost)
        least = smallest_p(self.n, "greater")
        return f"smallest attainable p: {least:.3g}" if least > ALPHA else ""

    @property
    def _lost(self) -> list[str]:
        return list(dict.fromkeys(row for part in self.parts for row in part.lost))


def judge_claims(results: Results) -> list[Verdict]:
    """Test every claim of a table for every backbone.

    A claim consists of inequalities between rows, each tested one-sided on paired seeds. The claim
    holds if every inequality is significant (intersection-union test). It does not hold if the
    opposite of at least one is significant after Holm's correction. Nothing is decided about rows
    with failed or collapsed seeds.

    Raises:
        ConfigError: a claim is of an unknown kind or lacks a key.
    """
    return [
        _verdict(results, backbone, claim)
        for claim in results.table.claims
        for backbone in results.table.backbones
    ]


def _verdict(results: Results, backbone: str, claim: Claim) -> Verdict:
    kind = str(claim.get("kind"))
    if kind not in _KINDS:
        raise ConfigError(f"{results.table.name}: {unknown('claim kind', kind, _KINDS)}")
    try:
        parts = _KINDS[kind](results, backbone, claim)
        return Verdict(str(claim["text"]), kind, backbone, tuple(parts))
    except (KeyError, TypeError, ValueError) as error:
        where = f"{results.table.name}: a claim of kind {kind}"
        reason = f"has no {error}" if isinstance(error, KeyError) else f"is malformed ({error})"
        raise ConfigError(f"{where} {reason}") from error


def _beats(results: Results, backbone: str, claim: Claim) -> list[Inequality]:
    """Superiority: `row` scores higher than `over`."""
    return [_difference(results, backbone, claim, claim["row"], claim["over"])]


def _within(results: Results, backbone: str, claim: Claim) -> list[Inequality]:
    """Non-inferiority: `row` scores less than `points` below `of`; `points` is the margin."""
    bound = -float(claim["points"])
    return [_difference(results, backbone, claim, claim["row"], claim["of"], bound)]


def _keeps(results: Results, backbone: str, claim: Claim) -> list[Inequality]:
    """Non-inferiority of the second row of each pair to the first.

    `points` is the non-inferiority margin, 0 by default. With margin 0 the claim holds only if
    every second row is significantly better, because no test can show that nothing at all is lost.
    """
    bound = -float(claim.get("points", 0.0))
    return [_difference(results, backbone, claim, row, of, bound) for of, row in claim["pairs"]]


def _rises(results: Results, backbone: str, claim: Claim) -> list[Inequality]:
    """Monotonicity: each of the `rows` scores higher than the one before it."""
    steps = pairwise(claim["rows"])
    return [_difference(results, backbone, claim, row, before) for before, row in steps]


def _earlier(results: Results, backbone: str, claim: Claim) -> list[Inequality]:
    """Speed: `row` reaches the best score of `than` more than `share` of training earlier."""
    row, than, share = claim["row"], claim["than"], float(claim["share"])
    saved = sorted(measure_savings(results, backbone, row, than).values())
    label = f"{results.label(row)} before {results.label(than)}"
    names = [column.name for column in results.table.columns]
    lost = describe_lost(results, backbone, (row, than), names)
    return [Inequality.of(label, saved, share, "of training", lost)]


def _difference(
    results: Results, backbone: str, claim: Claim, row: str, baseline: str, bound: float = 0.0
) -> Inequality:
    column = claim.get("column", AVERAGE)
    one, other = (results.at(backbone, name, column).scores for name in (row, baseline))
    label = f"{results.label(row)} − {results.label(baseline)}"
    lost = describe_lost(results, backbone, (row, baseline), [column])
    return Inequality.of(label, pair_differences(one, other), bound, lost=lost)


_KINDS: dict[str, Callable[[Results, str, Claim], list[Inequality]]] = {
    "beats": _beats,
    "within": _within,
    "keeps": _keeps,
    "rises": _rises,
    "earlier": _earlier,
}
