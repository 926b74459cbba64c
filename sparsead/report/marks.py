"""What figures are drawn of: marks with error bars, lines with bands, and horizontal lines."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sparsead.report.statistics import Estimate
from sparsead.report.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAND = 0.08
_EDGE = 0.6
"""Width of a band's edge, by which bands that lie over each other are told apart."""
_LEVEL_BAND = 0.07
_APART = 0.012
"""Distance between the marks of equal places, where there is room for it, in widths of the axes."""
_ASIDE = 0.055
"""Largest distance of a mark from its place, in widths of the axes."""
_OF_THE_GAP = 1 / 3
"""Largest distance of a mark from its place, as a share of that to the next place."""
_DIGITS = 9


class Mark(NamedTuple):
    """The score at one place of the x axis, and how it is drawn."""

    x: float
    estimate: Estimate
    look: Look
    label: str


def draw_marks(axes: Axes, marks: Sequence[Mark], first: Collection[str] = ()) -> None:
    """Draw marks with error bars of one standard deviation, those of equal places side by side.

    Args:
        axes: with the scale and the limits of its x axis set.
        marks: in the order of the legend.
        first: labels of the marks that stay at their place among equal ones.
    """
    to_axes = axes.transScale + axes.transLimits
    places = [float(to_axes.transform((mark.x, mark.estimate.mean))[0]) for mark in marks]
    kept = {number for number, mark in enumerate(marks) if mark.label in first}
    for mark, aside in zip(marks, set_aside(places, kept), strict=True):
        _draw_mark(axes, mark, aside)


def set_aside(places: Sequence[float], first: Collection[int] = ()) -> list[float]:
    """Return how far to shift each mark on the paper, so that those of equal places can be seen.

    One of them stays at its place, the others lie alternately to its right and to its left. No mark
    is shifted as far as half of the way to the next place, so that the order of the places is kept.

    Args:
        places: from 0 to 1, in widths of the axes, as are the distances that are returned.
        first: numbers of the marks that rather stay than others.
    """
    groups: dict[float, list[int]] = {}
    for number, place in enumerate(places):
        groups.setdefault(round(place, _DIGITS), []).append(number)
    shifts = [0.0] * len(places)
    for place, members in groups.items():
        gap = min((abs(place - other) for other in groups if other != place), default=1.0)
        distance = min(_APART, min(_ASIDE, _OF_THE_GAP * gap) / max(1, len(members) // 2))
        members.sort(key=lambda number: number not in first)
        for before, number in enumerate(members):
            step = (before + 1) // 2 * distance
            shifts[number] = step if before % 2 else -step
    return shifts


def find_ends(estimate: Estimate) -> list[float]:
    """Return the lower and the upper end of an error bar."""
    return [estimate.mean + sign * (estimate.sd or 0.0) for sign in (-1, 1)]


def draw_band(
    axes: Axes, x: Sequence[float], values: Sequence[Sequence[float]], look: Look, label: str
) -> None:
    """Draw a line through the means over seeds, with a band of one standard deviation."""
    kept = [(at, Estimate.of(each)) for at, each in zip(x, values, strict=True) if each]
    if not kept:
        return
    shares = [at for at, _ in kept]
    low, high = zip(*(find_ends(estimate) for _, estimate in kept), strict=True)
    mean = [estimate.mean for _, estimate in kept]
    axes.plot(shares, mean, color=look.color, marker=look.marker, linestyle=look.line, label=label)
    axes.fill_between(
        shares,
        low,
        high,
        facecolor=(look.color, _BAND),
        edgecolor=(look.color, 0.5),
        linestyle=look.line,
        linewidth=_EDGE,
    )


def draw_level(axes: Axes, estimate: Estimate, look: Look, label: str) -> None:
    """Draw a horizontal line at the mean over seeds, with a band of one standard deviation."""
    low, high = find_ends(estimate)
    axes.axhline(estimate.mean, color=look.color, linestyle=look.line, linewidth=1.2, label=label)
    axes.axhspan(low, high, color=look.color, alpha=_LEVEL_BAND, linewidth=0)


def _draw_mark(axes: Axes, mark: Mark, aside: float) -> None:
    """Draw a mark so many widths of the axes to the right of its place, which stays its value."""
    from matplotlib.transforms import Affine2D

    shift = Affine2D().translate(aside, 0)
    axes.errorbar(
        mark.x,
        mark.estimate.mean,
        yerr=mark.estimate.sd or 0.0,
        color=mark.look.color,
        marker=mark.look.marker,
        linestyle="none",
        capsize=3,
        label=mark.label,
        transform=axes.transScale + axes.transLimits + shift + axes.transAxes,
    )
