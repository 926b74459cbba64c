"""What a paper claims, tested on what has been measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from sparsead.errors import ConfigError, unknown
from sparsead.report.formats import pluralize
from sparsead.report.histories import measure_savings
from sparsead.report.results import Results
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
class Part:
    """One inequality of a claim: the mean difference over paired seeds is above `bound`.

    `p_above` is the one-sided p-value against "not above", `p_below` against "not below".
    """

    label: str
    unit: str
    bound: float
    n: int
    difference: float | None
    interval: tuple[float, float] | None
    p_above: float
    p_below: float

    @classmethod
    def of(cls, label: str, paired: Sequence[float], bound: float, unit: str = "points") -> Part:
        """Test one inequality on the differences of the paired seeds."""
        if not paired:
            return cls(label, unit, bound, 0, None, None, 1.0, 1.0)
        shifted = [difference - bound for difference in paired]
        above, below = permutation_p(shifted, "greater"), permutation_p(shifted, "less")
        interval = bootstrap_interval(paired)
        return cls(label, unit, bound, len(paired), fmean(paired), interval, above, below)

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
    """A claim for one backbone, the inequalities that it makes, and what the tests say of them."""

    text: str
    kind: str
    backbone: str
    parts: tuple[Part, ...]

    @property
    def n(self) -> int:
        """The paired seeds of the inequality that has fewest."""
        return min((part.n for part in self.parts), default=0)

    @property
    def p_holds(self) -> float:
        """The p-value of the whole claim: the largest, for every inequality must hold."""
        return max((part.p_above for part in self.parts), default=1.0)

    @property
    def p_fails(self) -> float:
        """The p-value against the claim: one inequality is enough, hence Holm's correction."""
        return min(holm([part.p_below for part in self.parts]), default=1.0)

    @property
    def verdict(self) -> str:
        """Holds, does not hold, or cannot be told, at the level of 5 %."""
        if self.n and self.p_holds <= ALPHA:
            return "holds"
        if self.n and self.p_fails <= ALPHA:
            return "does not hold"
        return f"cannot be told with {pluralize(self.n, 'seed')}"

    @property
    def reason(self) -> str:
        """Why it cannot be told, where the number of seeds alone is the reason; else nothing."""
        least = smallest_p(self.n, "greater")
        if self.n == 0:
            return "not measured yet"
        return f"smallest p within reach: {least:.3g}" if least > ALPHA else ""


def judge_claims(results: Results) -> list[Verdict]:
    """Test every claim of a table for every backbone.

    A claim is one or several inequalities between rows, each tested one-sided on paired seeds. It
    holds if every one does (intersection-union test); it does not if the opposite of one is
    significant.

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


def _beats(results: Results, backbone: str, claim: Claim) -> list[Part]:
    return [_difference(results, backbone, claim, claim["row"], claim["over"])]


def _within(results: Results, backbone: str, claim: Claim) -> list[Part]:
    bound = -float(claim["points"])
    return [_difference(results, backbone, claim, claim["row"], claim["of"], bound)]


def _keeps(results: Results, backbone: str, claim: Claim) -> list[Part]:
    """No test shows that nothing is lost: `points` is the loss that counts as none, 0 by default.

    At 0 only a gain in every pair makes the claim hold.
    """
    bound = -float(claim.get("points", 0.0))
    return [_difference(results, backbone, claim, row, of, bound) for of, row in claim["pairs"]]


def _rises(results: Results, backbone: str, claim: Claim) -> list[Part]:
    steps = pairwise(claim["rows"])
    return [_difference(results, backbone, claim, row, before) for before, row in steps]


def _earlier(results: Results, backbone: str, claim: Claim) -> list[Part]:
    row, than, share = claim["row"], claim["than"], float(claim["share"])
    saved = sorted(measure_savings(results, backbone, row, than).values())
    label = f"{results.label(row)} before {results.label(than)}"
    return [Part.of(label, saved, share, "of training")]


def _difference(
    results: Results, backbone: str, claim: Claim, row: str, baseline: str, bound: float = 0.0
) -> Part:
    column = claim.get("column", AVERAGE)
    one, other = (results.at(backbone, name, column).scores for name in (row, baseline))
    label = f"{results.label(row)} − {results.label(baseline)}"
    return Part.of(label, pair_differences(one, other), bound)


_KINDS: dict[str, Callable[[Results, str, Claim], list[Part]]] = {
    "beats": _beats,
    "within": _within,
    "keeps": _keeps,
    "rises": _rises,
    "earlier": _earlier,
}
