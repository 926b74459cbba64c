"""The figures of a table: score over parameters, over sparsity, and over the course of training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sparsead.errors import ConfigError, unknown
from sparsead.report.front import find_points, measure_trained
from sparsead.report.histories import (
    REACHED,
    average_curves,
    describe_scored,
    locate_rise,
    read_curves,
)
from sparsead.report.marks import Mark, draw_band, draw_level, draw_marks, find_ends
from sparsead.report.results import Results, backbone_of, describe_unit
from sparsead.report.style import cycle_levels, cycle_looks, start_figure
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
_ROOM = 1.7
"""Factor between the outermost share and the end of the axis, on either side."""
_AROUND = 5.0
"""Percent of sparsity that the axis shows around marks."""
_DIGITS = 2
"""Of a sparsity in percent: what rounding to whole weights makes of one sparsity is the same."""


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


def _scatter(
    axes: Axes, results: Results, backbone: str, column: str, first: Collection[str] = ()
) -> None:
    """Draw one mark with an error bar for each row; of equal sizes those of `first` at their place.

    The x axis is logarithmic because full fine-tuning lies at 100 %, adapters at a few percent.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    shown = [
        Mark(share, estimate, look, row.label)
        for row, look in zip(results.table.rows, cycle_looks(), strict=False)
        if (estimate := results.at(backbone, row.name, column).estimate) is not None
        if (share := _trained(results, backbone, row, column)) is not None
    ]
    untrained = [mark for mark in shown if mark.x == 0]  # they have no place on a logarithmic axis
    for mark, look in zip(untrained, cycle_levels(), strict=False):
        draw_level(axes, mark.estimate, look, f"{mark.label} (0 %)")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:g} %")
    axes.xaxis.set_minor_formatter(NullFormatter())
    marks = [mark for mark in shown if mark.x > 0]
    if marks:  # matplotlib takes no limits from marks that are shifted on the paper
        shares = [mark.x for mark in marks]
        ends = [end for mark in shown for end in find_ends(mark.estimate)]
        axes.set_xlim(min(shares) / _ROOM, max(shares) * _ROOM)
        room = 0.1 * (max(ends) - min(ends)) or 1.0
        axes.set_ylim(min(ends) - room, max(ends) + room)
    draw_marks(axes, marks, first)
    size = "trained weights, share of the backbone (equal ones side by side)"
    axes.set_xlabel(f"{size}\nbars: one standard deviation over the seeds")
    axes.set_ylabel(_score_label(results, column))


def _sparsities(axes: Axes, results: Results, backbone: str, column: str) -> None:
    """Draw one line for each series, and a horizontal line for each row without a series.

    Rows without a series do not depend on sparsity, such as the dense adapter and full fine-tuning.
    """
    series: dict[str, list[Row]] = {}
    for row in results.table.rows:
        series.setdefault(row.series or "", []).append(row)
    levels = series.pop("", [])
    alone: list[Mark] = []
    for (label, rows), look in zip(series.items(), cycle_looks(), strict=False):
        points = [(_sparsity(results, backbone, row, column), row) for row in rows]
        known = sorted((s, row.name) for s, row in points if s is not None)
        if len(known) == 1:  # a line of one point would hide another one
            ((share, name),) = known
            estimate = results.at(backbone, name, column).estimate
            if estimate is not None:
                alone.append(Mark(round(share, _DIGITS), estimate, look, label))
            continue
        draw_band(
            axes,
            [share for share, _ in known],
            [list(results.at(backbone, name, column).scores.values()) for _, name in known],
            look,
            label,
        )
    for row, look in zip(levels, cycle_levels(), strict=False):
        estimate = results.at(backbone, row.name, column).estimate
        if estimate is not None:
            draw_level(axes, estimate, look, row.label)
    if alone:
        _make_room(axes, alone)
        draw_marks(axes, alone)
    axes.set_xlabel(
        "sparsity, % of prunable weights removed\n"
        "bands and bars: one standard deviation over the seeds"
    )
    axes.set_ylabel(_score_label(results, column))


def _make_room(axes: Axes, marks: Sequence[Mark]) -> None:
    """Widen the axes for marks, of which matplotlib takes no limits, and to a few percent."""
    shares = [mark.x for mark in marks]
    ends = [end for mark in marks for end in find_ends(mark.estimate)]
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
    """Draw the learning curve of each row, with a star where it has made `REACHED` of its rise."""
    for row, look in zip(results.table.rows, cycle_looks(), strict=False):
        each = list(read_curves(results, backbone, row.name, column).values())
        mean = average_curves(each)
        if mean is None:
            continue
        values = [[curve.scores[share] for curve in each] for share in mean.scores]
        draw_band(axes, [100 * share for share in mean.scores], values, look, row.label)
        at = locate_rise(mean, REACHED, results.direction(column))
        if at is not None:
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
        marker="o",
        markersize=14,
        fillstyle="none",
        zorder=0,
        label="best of as few weights",
    )
    _scatter(axes, results, backbone, column, {point.label for point in points})


KINDS: dict[str, Callable[[Results], list[Panel]]] = {
    "score_by_parameters": partial(_by_backbone, _scatter),
    "score_by_sparsity": partial(_by_backbone, _sparsities),
    "score_by_training": partial(_by_column, _courses, _has_curves),
    "score_by_weights": partial(_by_column, _front, _has_points),
}


def _trained(results: Results, backbone: str, row: Row, column: str) -> float | None:
    """Return the share of trained weights in percent, which the runs of a row have in common."""
    records = results.records_at(backbone, row.name, column)
    return next((100 * measure_trained(record) for record in records), None)


def _sparsity(results: Results, backbone: str, row: Row, column: str) -> float | None:
    """Return the sparsity in percent, which the runs of a row have in common."""
    records = results.records_at(backbone, row.name, column)
    return next((100 * float(each.result["sparsity"]["realised"]) for each in records), None)


def _score_label(results: Results, column: str) -> str:
    heads = {each.name: f"{each.label}, {each.metric}" for each in results.table.columns}
    labels = {each.name: each.label for each in results.table.columns}
    over = ", ".join(labels[name] for name in results.table.average)
    return f"{heads.get(column, f'mean of {over}')} ({describe_unit(results, column)})"
