"""How every figure looks: told apart by the colour-blind, and the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sparsead.errors import RecordError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")

Line = str | tuple[int, tuple[int, ...]]
"""A line style of matplotlib."""

# Okabe and Ito's palette; Tol's wine red stands for its yellow, which vanishes on white.
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
_LINES: tuple[Line, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

_SETTINGS: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.markersize": 6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "svg.hashsalt": "sparsead",  # an SVG has random identifiers otherwise
}


class Look(NamedTuple):
    """A colour, a marker and a line: any one of the three tells two series apart."""

    color: str
    marker: str
    line: Line


def cycle_looks() -> Iterator[Look]:
    """Yield one look after the other; the periods differ, so that they repeat late."""
    return map(Look, cycle(_COLOURS), cycle(_MARKERS), cycle(_LINES))


@contextmanager
def start_figure(width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure of that size in inches, in our style and without a display."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def encode_figure(figure: Figure, suffix: str) -> bytes:
    """Return a figure as PNG or SVG, without a date; the same figure gives the same bytes."""
    from matplotlib import rc_context

    with rc_context(_SETTINGS):
        metadata = {"Date": None} if suffix == ".svg" else None
        figure.savefig(content := io.BytesIO(), format=suffix[1:], metadata=metadata)
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG by the path's suffix.

    Raises:
        RecordError: the suffix is another, or the path cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise RecordError(f"{path}: must end in {' or '.join(SUFFIXES)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_figure(figure, path.suffix))
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error})") from error
