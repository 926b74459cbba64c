"""`sparsead figure`: draw one of the figures from finished runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from sparsead.report.masks_figure import draw_masks
from sparsead.runs.query import add_run_arguments, find_run
from sparsead.runs.record import RunRecord

FIGURES: dict[str, Callable[[RunRecord, Path], None]] = {"masks": draw_masks}


def main() -> None:
    """Entry point of `sparsead figure`."""
    parser = argparse.ArgumentParser(prog="sparsead figure", description=__doc__)
    parser.add_argument("figure", choices=sorted(FIGURES))
    add_run_arguments(parser)
    where = "PNG or SVG by its suffix (default: OUTPUTS/figures/FIGURE_RUN.png)"
    parser.add_argument("--out", metavar="FILE", type=Path, help=where)
    arguments = parser.parse_args()
    record = find_run(arguments.run, arguments.outputs)
    name = f"{arguments.figure}_{record.folder.resolve().name}.png"
    path = arguments.out or arguments.outputs / "figures" / name
    FIGURES[arguments.figure](record, path)
    sys.stdout.write(f"{path}\n")
