"""Test the claims of a table, such as those of the paper, on the measured scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from sparsead.errors.display import pluralize
from sparsead.report.histories import (
    REACHED,
    describe_scored,
    measure_advantages,
    measure_savings,
    scored_columns,
)
from sparsead.report.requirements import Requirement
from sparsead.report.results import (
    DIFFERENT_EXAMPLES,
    Results,
    describe_lost,
    is_random_pruning,
)
from sparsead.report.statistics import ALPHA, holm, smallest_p
from sparsead.tables.cells import AVERAGE
from sparsead.tables.columns import PAPER, claimed_columns, published_difference

Claim = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """A claim about one backbone, with the tested requirements of which it consists.

    `p_holds_holm` and `p_fails_holm` are the p-values after Holm's correction over all claims and
    backbones of the table. `least` is the smallest p-value that the claim could have had after it,
    for or against, beside the p-values of the other claims.
    """

    text: str
    kind: str
    backbone: str
    parts: tuple[Requirement, ...]
    p_holds_holm: float = 1.0
    p_fails_holm: float = 1.0
    least: float = 1.0

    @property
    def n(self) -> int:
        """The smallest number of paired seeds among the requirements."""
        return min((part.n for part in self.parts), default=0)

    @property
    def p_holds(self) -> float:
        """The p-value of the whole claim: the largest one, because every requirement must hold."""
        return max((part.p_holds for part in self.parts), default=1.0)

    @property
    def p_fails(self) -> float:
        """The p-value against the claim: the smallest one after Holm's correction.

        One violated requirement refutes the claim, so that the tests are corrected for their
        number.
        """
        return min(holm([part.p_fails for part in self.parts]), default=1.0)

    @property
    def smallest_p_holds(self) -> float:
        """The smallest value that `p_holds` can have with these seeds."""
        return smallest_p(self.n, "greater")

    @property
    def smallest_p_fails(self) -> float:
        """The smallest value that `p_fails` can have with these seeds."""
        return min(holm([part.smallest_p_fails for part in self.parts]), default=1.0)

    @property
    def verdict(self) -> str:
        """Whether the claim holds, does not hold, or cannot be decided at the 5 % level."""
        if self._differ:
            return "cannot be told: rows cannot be compared"
        if self._lost:
            return "cannot be told: seeds failed or collapsed"
        if self.n and self.p_holds_holm <= ALPHA:
            return "holds"
        if self.n and self.p_fails_holm <= ALPHA:
            return "does not hold"
        return f"cannot be told with {pluralize(self.n, 'seed')}"

    @property
    def reason(self) -> str:
        """Why no decision was possible, if seeds are lost or too few; otherwise empty."""
        if self._lost:
            return "; ".join(self._lost)
        if self.n == 0:
            return "not measured yet"
        return f"smallest attainable p: {self.least:.3g}" if self.least > ALPHA else ""

    @property
    def p_values(self) -> str:
        """The corrected p-values for and against the claim, as a text."""
        return f"{self.p_holds_holm:.3g} / {self.p_fails_holm:.3g}"

    @property
    def _differ(self) -> bool:
        return any(each.endswith(DIFFERENT_EXAMPLES) for each in self._lost)

    @property
    def _lost(self) -> list[str]:
        return list(dict.fromkeys(row for part in self.parts for row in part.lost))


def judge_claims(results: Results) -> list[Verdict]:
    """Test every claim of a table for every backbone.

    A claim consists of requirements, each tested on paired seeds. The claim holds if every
    requirement is significant (intersection-union test). It does not hold if the opposite of at
    least one is significant after Holm's correction. Both p-values are then corrected by Holm's
    method over all claims and backbones that have been measured. Nothing is decided about rows with
    failed or collapsed seeds.
    """
    found = [
        _verdict(results, backbone, claim)
        for claim in results.table.claims
        for backbone in results.table.backbones
    ]
    tested = [index for index, verdict in enumerate(found) if verdict.n]
    judged = _correct([found[index] for index in tested])
    for index, verdict in zip(tested, judged, strict=True):
        found[index] = verdict
    return found


def _correct(tested: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts with their p-values corrected over all of them."""
    holds = [verdict.p_holds for verdict in tested]
    fails = [verdict.p_fails for verdict in tested]
    corrected = zip(tested, holm(holds), holm(fails), strict=True)
    return [
        replace(
            verdict,
            p_holds_holm=p_holds,
            p_fails_holm=p_fails,
            least=min(
                _correct_instead(holds, index, verdict.smallest_p_holds),
                _correct_instead(fails, index, verdict.smallest_p_fails),
            ),
        )
        for index, (verdict, p_holds, p_fails) in enumerate(corrected)
    ]


def _correct_instead(p_values: Sequence[float], index: int, p: float) -> float:
    """Return what Holm's method makes of `p` in the place of one of the p-values.

    By how much it multiplies depends on the others: a claim of fewer seeds comes later.
    """
    return holm([*p_values[:index], p, *p_values[index + 1 :]])[index]


def _verdict(results: Results, backbone: str, claim: Claim) -> Verdict:
    kind = claim["kind"]
    return Verdict(claim["text"], kind, backbone, tuple(JUDGES[kind](results, backbone, claim)))


def _beats(results: Results, backbone: str, claim: Claim) -> list[Requirement]:
    """Superiority: `row` is more than `points` better than `over`; `points` is 0 by default.

    With `points: paper` it is better by more than the paper prints for the same columns.
    """
    points, pairs = claim.get("points", 0.0), [(claim["over"], claim["row"])]
    if points != PAPER:
        return _above(results, backbone, claim, pairs, float(points))
    return [
        part
        for column in claimed_columns(claim)
        for part in _above(
            results,
            backbone,
            {"column": column},
            pairs,
            _published(results, backbone, *pairs[0], column) or 0.0,
        )
    ]


def _best(results: Results, backbone: str, claim: Claim) -> list[Requirement]:
    """Superiority over each of several rows: `row` is better than every one of `rows`."""
    pairs = [(other, claim["row"]) for other in _compared(results, backbone, claim["rows"])]
    return _above(results, backbone, claim, pairs)


def _within(results: Results, backbone: str, claim: Claim) -> list[Requirement]:
    """Non-inferiority: `row` is less than `points` worse than `of`; `points` is the margin."""
    pairs = [(claim["of"], claim["row"])]
    return _above(results, backbone, claim, pairs, -float(claim["points"]))


def _keeps(results: Results, backbone: str, claim: Claim) -> list[Requirement]:
    """Non-inferiority of the second row of each pair to the first.

    `points` is the non-inferiority margin, 0 by default. With margin 0 the claim holds only if
    every second row is significantly better, because no test can show that nothing at all is lost.
    """
    bound = -float(claim.get("points", 0.0))
    compared = _compared(results, backbone, [row for _, row in claim["pairs"]])
    pairs = [(of, row) for of, row in claim["pairs"] if row in compared]
    return _above(results, backbone, claim, pairs, bound)


def _rises(results: Results, backbone: str, claim: Claim) -> list[Requirement]:
    """Monotonicity: each of the `rows` is better than the one before it."""
    return _above(results, backbone, claim, list(pairwise(claim["rows"])))


def _comparable(results: Results, backbone: str, claim: Claim) -> list[Requirement]:
    """Equivalence: each of the `rows` is within `points` of `of`; `points` is the margin."""
    margin, of = float(claim["points"]), claim["of"]
    return [
        replace(
            Requirement.within(*_difference(results, backbone, of, row, column), margin, lost=lost),
            published=_published(results, backbone, of, row, column),
        )
        for row in _compared(results, backbone, claim["rows"])
        for column in claimed_columns(claim)
        for lost in [describe_lost(results, backbone, (row, of), [column])]
    ]


def _earlier(results: Results, backbone: str, claim: Claim) -> list[Requirement]:
    """Speed: `row` completes a fraction of its rise earlier than `than` does.

    The fraction is `reached`, and "earlier" means by more than `share` of the training. A row rises
    from its own first to its own final score (see `histories`).
    """
    row, than, share = claim["row"], claim["than"], float(claim["share"])
    reached = float(claim.get("reached", REACHED))
    saved = sorted(measure_savings(results, backbone, row, than, reached).values())
    label = f"{results.label(row)} before {results.label(than)}"
    label, lost = _describe_curves(results, backbone, (row, than), label)
    return [Requirement.above(label, saved, share, unit="of training", lost=lost)]


def _ahead(results: Results, backbone: str, claim: Claim) -> list[Requirement]:
    """Advantage: `row` is better than `than` at the same share of training, on average over it."""
    row, than = claim["row"], claim["than"]
    found = sorted(measure_advantages(results, backbone, row, than).values())
    label = f"{results.label(row)} − {results.label(than)} over training"
    label, lost = _describe_curves(results, backbone, (row, than), label)
    return [Requirement.above(label, found, lost=lost)]


def _describe_curves(
    results: Results, backbone: str, rows: tuple[str, str], label: str
) -> tuple[str, list[str]]:
    """Return the label with what the learning curves are scored on, and the rows' lost seeds."""
    columns = scored_columns(results, backbone, *rows)
    scored = describe_scored(results, backbone, columns, rows)
    lost = describe_lost(results, backbone, rows, columns)
    return ", ".join(filter(None, (label, scored))), lost


def _above(
    results: Results,
    backbone: str,
    claim: Claim,
    pairs: Sequence[Sequence[str]],
    bound: float = 0.0,
) -> list[Requirement]:
    """Return, for each pair and column, that the second row exceeds the first by `bound`."""
    return [
        replace(
            Requirement.above(*_difference(results, backbone, of, row, column), bound, lost=lost),
            published=_published(results, backbone, of, row, column),
        )
        for of, row in pairs
        for column in claimed_columns(claim)
        for lost in [describe_lost(results, backbone, (row, of), [column])]
    ]


def _difference(
    results: Results, backbone: str, of: str, row: str, column: str
) -> tuple[str, list[float]]:
    """Return a label and the paired improvements of a row over another in a column."""
    first, second = (row, of) if results.direction(column) > 0 else (of, row)
    where = "" if column == AVERAGE else f", {column}"
    label = f"{results.label(first)} − {results.label(second)}{where}"
    return label, results.improvements(backbone, row, of, column)


def _published(results: Results, backbone: str, of: str, row: str, column: str) -> float | None:
    """Return the paper's improvement of a row over another; None if it does not print both."""
    found = published_difference(results.table, backbone, row, of, column)
    return None if found is None else results.direction(column) * found


def _compared(results: Results, backbone: str, rows: Sequence[str]) -> list[str]:
    """Return the rows without those that are random pruning under another name, if any is left."""
    return [row for row in rows if not is_random_pruning(results, backbone, row)] or list(rows)


JUDGES: dict[str, Callable[[Results, str, Claim], list[Requirement]]] = {
    "beats": _beats,
    "best": _best,
    "within": _within,
    "keeps": _keeps,
    "rises": _rises,
    "comparable": _comparable,
    "earlier": _earlier,
    "ahead": _ahead,
}
