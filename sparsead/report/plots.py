"""The figures of a table: score over parameters, over sparsity, and over the course of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from sparsead.errors import ConfigError, unknown
from sparsead.report.front import find_points
from sparsead.report.histories import (
    REACHED,
    average_curves,
    describe_scored,
    find_reached,
    read_curves,
)
from sparsead.report.results import Results, backbone_of
from sparsead.report.statistics import Estimate
from sparsead.report.style import Line, Look, cycle_looks, start_figure
from sparsead.runs.record import RunRecord
from sparsead.tables.cells import AVERAGE, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (5.2, 3.9)
_LEGEND = 1.9
"""Width in inches of the legend, of which the longest label may need more."""
_LETTER = 0.072
"""Width in inches of a letter of the legend."""
_ENTRY = 0.2
"""Height in inches of a line of the legend."""
_ACROSS = 2
_BAND = 0.08
_EDGE = 0.6
"""Width of a band's edge, by which bands that lie over each other are told apart."""
_LEVELS: tuple[Line, ...] = ((0, (8, 3)), (0, (1, 2)), (0, (4, 2, 1, 2)), (0, (2, 1)))
_ALIKE = 1.09
"""Shares whose ratio is smaller than this would be drawn over each other."""
_ROOM = 1.7
"""Factor between the outermost share and the end of the axis, on either side."""
_SAME = 0.5
"""Sparsities in percent that differ by less would be drawn over each other."""
_AROUND = 5.0
"""Percent of sparsity that the axis shows around marks."""
_MARK = 9.0
"""Distance in typographic points between the marks of equal shares, where there is room for it."""
_ASIDE = 18.0
"""Typographic points by which a mark is shifted at most: a twentieth of a panel's width."""


def draw(results: Results, kind: str) -> Figure | None:
    """Draw a figure with one panel for each backbone or column; None if there are no scores yet.

    Raises:
        ConfigError: there is no such kind.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(unknown(f"{results.table.name}: kind", kind, KINDS))
    panels = KINDS[kind](results)
    if not panels:
        return None
    columns = min(len(panels), _ACROSS)
    rows = -(-len(panels) // columns)
    labels = [row.label for row in results.table.rows]
    legend = max(_LEGEND, _LETTER * max(map(len, labels)) + 0.6)
    height = max(rows * _PANEL[1], _ENTRY * (len(labels) + 2))
    with start_figure(columns * _PANEL[0] + legend, height) as figure:
        grid = [figure.add_subplot(rows, columns, i + 1) for i in range(len(panels))]
        for axes, (title, fill) in zip(grid, panels, strict=True):
            axes.set_title(title)
            fill(axes)
        entries = [
            each for axes in grid for each in zip(*axes.get_legend_handles_labels(), strict=True)
        ]
        handles = {label: handle for handle, label in entries}
        figure.legend(list(handles.values()), list(handles), loc="outside right center", fontsize=9)
    return figure


Panel = tuple[str, Callable[["Axes"], None]]


def _by_backbone(fill: Callable[..., None], results: Results) -> list[Panel]:
    """Return a panel for each backbone and column with scores; with an average, of that alone."""
    heads = {column.name: column.label for column in results.table.columns}
    shown = [AVERAGE] if results.table.average else list(heads)
    return [
        (
            f"{heads[column]}, {backbone}" if len(shown) > 1 else backbone,
            partial(fill, results=results, backbone=backbone, column=column),
        )
        for backbone in results.table.backbones
        for column in shown
        if any(results.at(backbone, row.name, column).scores for row in results.table.rows)
    ]


def _scatter(axes: Axes, results: Results, backbone: str, column: str) -> None:
    """Draw one point with an error bar for each row.

    The x axis is logarithmic because full fine-tuning lies at 100 %, adapters at a few percent.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    taken: list[float] = []
    ends: list[float] = []
    shown = [
        (row, look, estimate, share)
        for row, look in zip(results.table.rows, cycle_looks(), strict=False)
        if (estimate := results.at(backbone, row.name, column).estimate) is not None
        if (share := _parameters(results, backbone, row, column)) is not None
    ]
    shares = [share for *_, share in shown]
    for row, look, estimate, share in shown:
        if share == 0:  # has no place on a logarithmic axis
            _level(axes, estimate, f"{row.label} (0 %)", _LEVELS[1])
            ends += _ends(estimate)
            continue
        aside = _points_aside(_count_alike(share, taken), _count_alike(share, shares) - 1)
        taken.append(share)
        ends += _ends(estimate)
        _point(axes, share, estimate, look, row.label, aside)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:g} %")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if taken:  # matplotlib takes no limits from marks that are shifted on the paper
        axes.set_xlim(min(taken) / _ROOM, max(taken) * _ROOM)
        room = 0.1 * (max(ends) - min(ends)) or 1.0
        axes.set_ylim(min(ends) - room, max(ends) + room)
    axes.set_xlabel("trained parameters, share of the backbone\n(equal ones side by side)")
    axes.set_ylabel(_score_label(results, column))


def _count_alike(share: float, others: Iterable[float]) -> int:
    """Return how many other shares would be drawn over this one."""
    return sum(other / _ALIKE < share < other * _ALIKE for other in others)


def _point(axes: Axes, x: float, estimate: Estimate, look: Look, label: str, aside: float) -> None:
    """Draw a mark with an error bar, so many typographic points to the right of its place."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None
    shift = ScaledTranslation(aside / 72, 0, figure.dpi_scale_trans)
    axes.errorbar(
        x,
        estimate.mean,
        yerr=estimate.sd or 0.0,
        color=look.color,
        marker=look.marker,
        linestyle="none",
        capsize=3,
        label=label,
        transform=axes.transData + shift,
    )


def _ends(estimate: Estimate) -> list[float]:
    """Return the lower and the upper end of an error bar."""
    return [estimate.mean + sign * (estimate.sd or 0.0) for sign in (-1, 1)]


def _points_aside(before: int, alike: int) -> float:
    """Return how far to shift a mark on the paper, so that it hides none of `alike` others.

    In typographic points, alternately to the right and to the left; the axis does not change. Among
    many others the marks are closer together instead of farther from their place.

    Args:
        before: the number of others that are drawn already.
        alike: the number of others in all.
    """
    distance = min(_MARK, _ASIDE / max(1, (alike + 1) // 2))
    step = (before + 1) // 2 * distance
    return step if before % 2 else -step


def _sparsities(axes: Axes, results: Results, backbone: str, column: str) -> None:
    """Draw one line for each series, and a horizontal line for each row without a series.

    Rows without a series do not depend on sparsity, such as the dense adapter and full fine-tuning.
    """
    series: dict[str, list[Row]] = {}
    for row in results.table.rows:
        series.setdefault(row.series or "", []).append(row)
    levels = series.pop("", [])
    alone: list[float] = []
    ends: list[float] = []
    for (label, rows), look in zip(series.items(), cycle_looks(), strict=False):
        points = [(_sparsity(results, backbone, row, column), row) for row in rows]
        known = sorted((s, row.name) for s, row in points if s is not None)
        if len(known) == 1:  # a line of one point would hide another one
            ((share, name),) = known
            estimate = results.at(backbone, name, column).estimate
            if estimate is not None:
                before = sum(abs(other - share) < _SAME for other in alone)
                _point(axes, share, estimate, look, label, _points_aside(before, len(series) - 1))
                alone.append(share)
                ends += _ends(estimate)
            continue
        _band(
            axes,
            [share for share, _ in known],
            [list(results.at(backbone, name, column).scores.values()) for _, name in known],
            look,
            label,
        )
    for row, style in zip(levels, cycle(_LEVELS), strict=False):
        _level(axes, results.at(backbone, row.name, column).estimate, row.label, style)
    _make_room(axes, alone, ends)
    axes.set_xlabel("sparsity, % of prunable weights removed")
    axes.set_ylabel(_score_label(results, column))


def _make_room(axes: Axes, shares: Sequence[float], ends: Sequence[float]) -> None:
    """Widen the axes for marks, of which matplotlib takes no limits, and to a few percent."""
    if shares:
        low, high = axes.dataLim.intervalx  # infinite where there are only marks
        axes.set_xlim(min(low, *shares) - _AROUND, max(high, *shares) + _AROUND)
        low, high = axes.dataLim.intervaly
        room = 0.1 * (max(high, *ends) - min(low, *ends)) or 1.0
        axes.set_ylim(min(low, *ends) - room, max(high, *ends) + room)


def _by_column(
    fill: Callable[..., None], has_any: Callable[[Results, str, str], bool], results: Results
) -> list[Panel]:
    """Return one panel for each backbone and column that has anything to draw."""
    return [
        (
            f"{column.label}, {backbone_of(column, backbone)}",
            partial(fill, results=results, backbone=backbone, column=column.name),
        )
        for backbone in results.table.backbones
        for column in results.table.columns
        if has_any(results, backbone, column.name)
    ]


def _has_curves(results: Results, backbone: str, column: str) -> bool:
    return any(read_curves(results, backbone, row.name, column) for row in results.table.rows)


def _has_points(results: Results, backbone: str, column: str) -> bool:
    return bool(find_points(results, backbone, column))


def _courses(axes: Axes, results: Results, backbone: str, column: str) -> None:
    """Draw the learning curve of each row, and mark where it has made `REACHED` of its rise."""
    for row, look in zip(results.table.rows, cycle_looks(), strict=False):
        each = list(read_curves(results, backbone, row.name, column).values())
        mean = average_curves(each)
        if mean is None:
            continue
        values = [[curve.scores[share] for curve in each] for share in mean.scores]
        _band(axes, [100 * share for share in mean.scores], values, look, row.label)
        at = find_reached(mean, REACHED, results.direction(column))
        if at in mean.scores:  # runs that stop early may have no common evaluation there
            axes.axvline(100 * at, color=look.color, linestyle=look.line, linewidth=0.9)
            axes.plot(
                100 * at, mean.scores[at], marker="*", markersize=13, color=look.color, zorder=5
            )
    rise = f"{REACHED:.0%} of its rise from its first to its final score"
    axes.set_xlim(left=0)
    axes.set_xlabel(f"training done, %\n★: {rise}")
    scored = describe_scored(results, backbone, [column], [row.name for row in results.table.rows])
    axes.set_ylabel("\n".join(filter(None, (_score_label(results, column), scored))))


def _front(axes: Axes, results: Results, backbone: str, column: str) -> None:
    """Draw the points of `_scatter`, and a line of the best score for at most as many weights."""
    points = [each for each in find_points(results, backbone, column) if each.front and each.share]
    axes.step(
        [100 * point.share for point in points],
        [point.estimate.mean for point in points],
        where="post",
        color="0.5",
        linewidth=1.2,
        marker="o",  # where the points are that _scatter may draw aside
        markersize=14,
        fillstyle="none",
        zorder=0,
        label="best of as few weights",
    )
    _scatter(axes, results, backbone, column)


KINDS: dict[str, Callable[[Results], list[Panel]]] = {
    "score_by_parameters": partial(_by_backbone, _scatter),
    "score_by_sparsity": partial(_by_backbone, _sparsities),
    "score_by_training": partial(_by_column, _courses, _has_curves),
    "score_by_weights": partial(_by_column, _front, _has_points),
}


def _band(
    axes: Axes, x: Sequence[float], values: Sequence[Sequence[float]], look: Look, label: str
) -> None:
    """Draw a line through the means over seeds, with a band of one standard deviation."""
    kept = [(at, Estimate.of(each)) for at, each in zip(x, values, strict=True) if each]
    if not kept:
        return
    shares = [at for at, _ in kept]
    low = [estimate.mean - (estimate.sd or 0.0) for _, estimate in kept]
    high = [estimate.mean + (estimate.sd or 0.0) for _, estimate in kept]
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


def _level(axes: Axes, estimate: Estimate | None, label: str, style: Line) -> None:
    if estimate is None:
        return
    sd = estimate.sd or 0.0
    axes.axhline(estimate.mean, color="black", linestyle=style, linewidth=1.2, label=label)
    axes.axhspan(estimate.mean - sd, estimate.mean + sd, color="black", alpha=0.07, linewidth=0)


def _parameters(results: Results, backbone: str, row: Row, column: str) -> float | None:
    return _first(results.records_at(backbone, row.name, column), "parameters", "nominal")


def _sparsity(results: Results, backbone: str, row: Row, column: str) -> float | None:
    return _first(results.records_at(backbone, row.name, column), "sparsity", "realised")


def _first(records: Iterable[RunRecord], part: str, key: str) -> float | None:
    """Return a value in percent that these runs share, taken from the first one."""
    return next((100 * float(record.result[part][key]) for record in records), None)


def _score_label(results: Results, column: str) -> str:
    heads = {each.name: f"{each.label}, {each.metric}" for each in results.table.columns}
    labels = {each.name: each.label for each in results.table.columns}
    over = ", ".join(labels[name] for name in results.table.average)
    return f"{heads[column]} (%)" if column in heads else f"mean of {over} (%)"
