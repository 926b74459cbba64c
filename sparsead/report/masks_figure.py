"""Draw a run's masks as a heat map of density by layer, site and side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsead.errors import RecordError
from sparsead.report.mask_structure import Grid, build_density_grid
from sparsead.report.masks import describe_run, load_masks
from sparsead.report.style import save
from sparsead.runs.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SETTINGS: Any = {"font.size": 8, "hatch.color": "#aaaaaa", "text.parse_math": False}
_INCHES_PER_LETTER = 0.075
_NARROWEST = 0.9
_ROW_HEIGHT = 0.3
_MARGINS = (2.0, 1.1)
_LEAST = (5.5, 2.4)
_COLOURS = "YlGnBu"
"""Light where little is kept, dark where much is; the figures of two runs can be compared."""
_LUMINANCE = (0.2126, 0.7152, 0.0722)
MIDDLE = 0.179
"""The luminance on which black and white are equally easy to read (WCAG 2, contrast 4.6)."""


def draw_masks(record: RunRecord, path: Path) -> None:
    """Draw the density of a run by layer, site and side, as PNG or SVG by the path's suffix.

    The colour scale is always 0 to 1, so that the figures of two runs can be compared. A hatched
    cell has no tensor in the model. The same run always gives the same bytes.

    Raises:
        RecordError: the run cannot be read or has no masks, or the path cannot be written.
    """
    masks = load_masks(record)
    if not masks:
        raise RecordError(f"{record.folder}: has no masks to draw, because no tensor was prunable")
    save(_figure(build_density_grid(masks), describe_run(record)), path)


def _figure(grid: Grid, title: str) -> Figure:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_SETTINGS):
        figure = Figure(figsize=_size(grid), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(facecolor="#eeeeee")
        axes.patch.set_hatch("///")
        image = axes.imshow(grid.density, cmap=_COLOURS, vmin=0, vmax=1, aspect="auto")
        figure.colorbar(image, ax=axes, label="density (share kept)")
        figure.suptitle(title)
        _label(axes, grid)
        _write_densities(axes, grid)
    return figure


def _size(grid: Grid) -> tuple[float, float]:
    beside, above = _MARGINS
    longest = max(len(_site(column)) for column in grid.columns)
    width = len(grid.columns) * max(_NARROWEST, _INCHES_PER_LETTER * longest)
    height = _ROW_HEIGHT * len(grid.rows)
    return max(_LEAST[0], beside + width), max(_LEAST[1], above + height)


def _label(axes: Axes, grid: Grid) -> None:
    axes.set_xticks(range(len(grid.columns)), ["\n".join(c.rsplit(" ", 1)) for c in grid.columns])
    axes.set_yticks(range(len(grid.rows)), grid.rows)
    axes.set_ylabel("layer")
    axes.tick_params(length=0)
    for column in _changes([_site(column) for column in grid.columns]):
        axes.axvline(column, color="white", linewidth=2)
    for row in _changes([row.rpartition(" ")[0] for row in grid.rows]):
        axes.axhline(row, color="white", linewidth=2)


def _write_densities(axes: Axes, grid: Grid) -> None:
    for (row, column), density in np.ndenumerate(grid.density):
        if not np.isnan(density):
            color = "black" if luminance_of(density) > MIDDLE else "white"
            axes.text(column, row, f"{density:.3f}", color=color, ha="center", va="center")


def luminance_of(density: float) -> float:
    """Return the relative luminance of a density's colour, from 0 for black to 1 for white."""
    from matplotlib import colormaps

    red_green_blue = np.array(colormaps[_COLOURS](float(density))[:3])
    linear = np.where(
        red_green_blue <= 0.04045, red_green_blue / 12.92, ((red_green_blue + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ _LUMINANCE)


def _site(column: str) -> str:
    return column.rpartition(" ")[0]


def _changes(labels: Sequence[str]) -> list[float]:
    """Return the borders between neighbouring labels that differ, in the axis's unit of cells."""
    return [i + 0.5 for i, (one, other) in enumerate(pairwise(labels)) if one != other]
