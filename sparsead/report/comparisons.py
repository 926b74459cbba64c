"""Paired comparisons of a table's rows with the dense row, corrected together, and bold cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from sparsead.report.examples import ResampledScores
from sparsead.report.results import Place, Results, describe_lost, is_random_pruning
from sparsead.report.statistics import (
    ALPHA,
    FEWEST_CROSSED,
    Comparison,
    compare,
    holm,
    smallest_p,
)
from sparsead.tables.cells import TableSpec

Mark = Literal["bold", "underline"]


@dataclass(frozen=True)
class RowComparison:
    """One row compared with its dense row in one column.

    `p_holm` is the permutation test's p-value after Holm's correction, `p_crossed_holm` that of the
    test that counts seeds and examples, None where there is no such test. `direction` is 1 if a
    higher score is better, −1 if a lower one is. `is_whole` is false if a seed of either row failed
    or collapsed.
    """

    place: Place
    baseline: str
    comparison: Comparison
    direction: int
    is_whole: bool
    p_holm: float
    p_crossed_holm: float | None

    @property
    def is_better(self) -> bool:
        """Whether the row is significantly better than the dense one, and no seed is lost."""
        is_improvement = self.direction * self.comparison.difference > 0
        return self.is_whole and is_improvement and self.p_holm <= ALPHA


def compare_rows(results: Results, resampled: ResampledScores | None = None) -> list[RowComparison]:
    """Compare the table's rows with their dense row; all comparisons form one family for Holm.

    The columns are those of `Results.tested`. A pair of rows without a common seed is left out, and
    so are one that was evaluated on different examples, and Erdős–Rényi pruning where it is random
    pruning under another name.

    Args:
        results: the table.
        resampled: the scores on resampled examples; None counts the seeds alone.

    Raises:
        ConfigError: the average is over columns of both directions.
    """
    found = [
        (
            Place(backbone, row, column),
            baseline,
            comparison,
            results.direction(column),
            not describe_lost(results, backbone, (row, baseline), [column]),
        )
        for backbone in results.table.backbones
        for baseline, row in list_pairs(results.table)
        if not is_random_pruning(results, backbone, row)
        for column in results.tested
        if (comparison := _compare(results, backbone, row, baseline, column, resampled)) is not None
    ]
    corrected = holm([comparison.p for _, _, comparison, *_ in found])
    crossed = _correct_crossed([comparison for _, _, comparison, *_ in found])
    return [
        RowComparison(*each, p, p_crossed)
        for each, p, p_crossed in zip(found, corrected, crossed, strict=True)
    ]


def _correct_crossed(comparisons: Sequence[Comparison]) -> list[float | None]:
    """Correct the p-values that count seeds and examples by Holm's method, where there are any."""
    known = iter(holm([each.crossed.p for each in comparisons if each.crossed is not None]))
    return [None if each.crossed is None else next(known) for each in comparisons]


def mark_cells(results: Results, compared: Sequence[RowComparison]) -> dict[Place, Mark]:
    """Return the cells to print in bold or underlined.

    Bold: the best row of a column, if it is significantly better than the dense row. Underlined:
    rows that do not differ significantly from the bold one, if their number of seeds n could have
    shown a difference (paired permutation test, Holm's correction over these rows). Rows compete
    only with those that are compared with the same dense row.
    """
    found: dict[Place, Mark] = {}
    for family in _families(compared):
        best = max(family, key=lambda each: each.direction * _mean(results, each.place))
        if best.is_better:
            found[best.place] = "bold"
            others = [each.place for each in family if each is not best and each.is_whole]
            found |= dict.fromkeys(_not_different(results, best.place, others), "underline")
    return found


def smallest_corrected_p(compared: Sequence[RowComparison]) -> float:
    """Return the smallest p-value that any comparison can attain after Holm's correction."""
    return min(1.0, len(compared) * min(smallest_p(each.comparison.n) for each in compared))


def list_pairs(table: TableSpec) -> list[tuple[str, str]]:
    """Return pairs of a dense row and a row to compare with it.

    The dense row is the table's baseline; without a baseline, the pairs are those of the claims.
    """
    rows = [row.name for row in table.rows]
    if table.baseline is not None:
        pairs = [(table.baseline, row) for row in table.comparisons]
    else:
        pairs = [pair for claim in table.claims for pair in _pairs_of(claim)]
    return [pair for pair in dict.fromkeys(pairs) if set(pair) <= set(rows)]


def describe_different_examples(results: Results) -> list[str]:
    """Return a sentence for each pair of rows that is not compared in a column for its examples."""
    return [
        f"{results.label(row)} and {results.label(baseline)} were evaluated on different examples "
        f"in {column}, and are not compared there."
        for backbone in results.table.backbones
        for baseline, row in list_pairs(results.table)
        for column in results.tested
        if not results.share_examples(backbone, row, baseline, column)
    ]


def _pairs_of(claim: Mapping[str, Any]) -> list[tuple[str, str]]:
    if claim.get("kind") == "beats" and {"over", "row"} <= claim.keys():
        return [(claim["over"], claim["row"])]
    return [(dense, row) for dense, row in claim.get("pairs", ())]


def _compare(
    results: Results,
    backbone: str,
    row: str,
    baseline: str,
    column: str,
    resampled: ResampledScores | None = None,
) -> Comparison | None:
    if not results.share_examples(backbone, row, baseline, column):
        return None
    one, other = (results.at(backbone, name, column).scores for name in (row, baseline))
    if resampled is None or len(one.keys() & other.keys()) < FEWEST_CROSSED:
        return compare(one, other)
    drawn = [resampled.at(backbone, name, column) for name in (row, baseline)]
    return compare(one, other, *drawn)


def _families(compared: Sequence[RowComparison]) -> list[list[RowComparison]]:
    def family(each: RowComparison) -> tuple[str, str, str]:
        return each.place.backbone, each.place.column, each.baseline

    return [list(group) for _, group in groupby(sorted(compared, key=family), family)]


def _mean(results: Results, place: Place) -> float:
    estimate = results.at(*place).estimate
    assert estimate is not None  # a row that has been compared has scores
    return estimate.mean


def _not_different(results: Results, best: Place, others: Sequence[Place]) -> list[Place]:
    """Return the places without a significant difference from the best, if n could show one."""
    found = [
        (place, comparison)
        for place in others
        if (comparison := _compare(results, place.backbone, place.row, best.row, place.column))
    ]
    corrected = holm([comparison.p for _, comparison in found])
    attainable = holm([smallest_p(comparison.n) for _, comparison in found])
    return [
        place
        for (place, _), p, least in zip(found, corrected, attainable, strict=True)
        if least <= ALPHA < p
    ]
