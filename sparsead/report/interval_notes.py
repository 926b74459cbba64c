"""What a table says about the intervals of its differences: which of the two it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sparsead.report.comparisons import RowComparison
from sparsead.report.signed import format_interval, format_signed
from sparsead.report.statistics import FEWEST_CROSSED, Crossed

_SEEDS_ALONE = "(seeds)"


def describe_difference(compared: RowComparison) -> str:
    """Return a mean difference with its interval, which says where it counts seeds alone."""
    comparison = compared.comparison
    difference = format_signed(comparison.difference)
    if comparison.crossed is not None:
        return f"{difference} {format_interval(comparison.crossed.interval)}"
    if comparison.interval is None:
        return difference
    return f"{difference} {format_interval(comparison.interval)} {_SEEDS_ALONE}"


def notes_of_intervals(
    compared: Sequence[RowComparison], reasons: Mapping[str, str], baseline: str
) -> list[str]:
    """Return the notes on the intervals of a table's differences.

    Args:
        compared: the comparisons of the table.
        baseline: what the row is called with which the others are compared.
        reasons: why the examples cannot be counted, by column.
    """
    found = [each.comparison.crossed for each in compared]
    crossed = [each for each in found if each is not None]
    alone = [each for each in compared if each.comparison.crossed is None]
    return [
        *([_note_of_crossed(crossed, baseline)] if crossed else []),
        *_notes_of_alone(alone, reasons, baseline),
    ]


def _note_of_crossed(crossed: Sequence[Crossed], baseline: str) -> str:
    numbers = sorted({each.resamples for each in crossed})
    resamples = " to ".join(f"{number:,}" for number in dict.fromkeys([numbers[0], numbers[-1]]))
    return (
        f"Difference: from {baseline}, with a 95 % interval that accounts for the variation over "
        f"seeds and over evaluated examples, as two crossed random factors ({resamples} "
        "resamples of the examples, the same for all runs of a task, and Student's t over the "
        "seeds). It holds for other seeds and other examples of the same kind. p crossed is the "
        f"p-value that belongs to this interval, corrected by Holm's method over {len(crossed)}; p "
        "accounts for the seeds alone."
    )


def _notes_of_alone(
    alone: Sequence[RowComparison], reasons: Mapping[str, str], baseline: str
) -> list[str]:
    with_interval = [each for each in alone if each.comparison.interval is not None]
    # Of a single pair, which its number tells, no interval is expected.
    equal = [each for each in alone if each not in with_interval and each.comparison.n > 1]
    found = []
    if with_interval:
        found.append(
            f"Difference with {_SEEDS_ALONE}: from {baseline}, with a 95 % t interval over the "
            "seeds alone: it holds for the evaluated examples, and says nothing of others"
            f"{_because(with_interval, reasons)}."
        )
    if equal:
        found.append(
            f"Difference without an interval: from {baseline}, and the same for every seed, from "
            f"which nothing follows for other seeds and examples{_because(equal, reasons)}."
        )
    return found


def _because(alone: Sequence[RowComparison], reasons: Mapping[str, str]) -> str:
    """Return in brackets why the examples are not counted, as far as it is known."""
    are_few = any(each.comparison.n < FEWEST_CROSSED for each in alone)
    few = [f"fewer than {FEWEST_CROSSED} paired seeds"] if are_few else []
    faults = [f"a difference is {each.comparison.fault}" for each in alone if each.comparison.fault]
    why = "; ".join(dict.fromkeys([*few, *reasons.values(), *faults]))
    return f" ({why})" if why else ""
