"""The style of all figures: readable for colour-blind people, with reproducible bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sparsead.errors import RecordError
from sparsead.report.replacing import write_asked_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")

Line = str | tuple[int, tuple[int, ...]]
"""A line style of matplotlib."""

# Okabe and Ito's palette; Tol's wine red replaces its yellow, which is hard to see on white.
_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#882255",
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_LEVEL_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#882255", "#CC79A7")
_LEVELS: tuple[Line, ...] = ((0, (8, 3)), (0, (1, 2)), (0, (4, 2, 1, 2)), (0, (2, 1)))
_LINES: tuple[Line, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

SETTINGS: Any = {
    "text.parse_math": False,  # names from records are shown as they are, dollar signs included
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.markersize": 6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "svg.hashsalt": "sparsead",  # without it, matplotlib puts random identifiers into an SVG
}


class Look(NamedTuple):
    """The colour, marker and line style of a series; each of them identifies it on its own."""

    color: str
    marker: str
    line: Line


def cycle_looks() -> Iterator[Look]:
    """Yield looks without end; colours, markers and lines cycle with different periods."""
    return map(Look, cycle(_COLOURS), cycle(_MARKERS), cycle(_LINES))


def cycle_levels() -> Iterator[Look]:
    """Yield looks of horizontal lines without end, 24 different ones: by dashes, then by colour."""
    return cycle(Look(color, "", line) for color, line in product(_LEVEL_COLOURS, _LEVELS))


@contextmanager
def start_figure(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of the given size in inches, in the project's style.

    It needs no display: the figure is drawn by matplotlib's Agg backend.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def encode_figure(figure: Figure, suffix: str) -> bytes:
    """Return a figure as PNG or SVG; it holds no date, so that equal figures have equal bytes."""
    from matplotlib import rc_context

    with rc_context(SETTINGS):
        metadata = {"Date": None} if suffix == ".svg" else None
        figure.savefig(content := io.BytesIO(), format=suffix[1:], metadata=metadata)
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG by the path's suffix.

    Raises:
        RecordError: the suffix is neither, or the path cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise RecordError(f"{path}: must end in {' or '.join(SUFFIXES)}")
    write_asked_file(path, encode_figure(figure, path.suffix))
