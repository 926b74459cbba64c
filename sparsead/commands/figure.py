"""`sparsead figure`: draw the masks of a run, or the figure of a table, from finished runs."""

from __future__ import annotations

import sys
from pathlib import Path

from sparsead.config.arguments import (
    Parser,
    add_outputs,
    add_overrides,
    add_records,
    add_run_arguments,
    user_path,
)
from sparsead.errors import RecordError
from sparsead.report.masks_figure import draw_masks
from sparsead.report.opened import open_results
from sparsead.report.publish import save_figure
from sparsead.runs.query import find_run

MASKS = "masks"


def main() -> None:
    """Entry point of `sparsead figure`."""
    if sys.argv[1:2] == [MASKS]:
        _masks(sys.argv[2:])
    else:
        _table(sys.argv[1:])


def _masks(given: list[str]) -> None:
    parser = Parser(f"sparsead figure {MASKS}", __doc__)
    add_run_arguments(parser)
    where = "PNG or SVG by its suffix, or a folder (default: OUTPUTS/figures/masks_RUN.png)"
    parser.add_argument("--out", metavar="FILE", type=user_path, help=where)
    arguments = parser.parse(given)
    record = find_run(arguments.run, arguments.outputs)
    name = f"{MASKS}_{record.folder.resolve().name}.png"
    out: Path = arguments.out or arguments.outputs / "figures" / name
    path = out / name if out.is_dir() else out
    draw_masks(record, path)
    sys.stdout.write(f"{path}\n")


def _table(given: list[str]) -> None:
    usage = "sparsead figure masks RUN | sparsead figure TABLE [KEY=VALUE …]"
    parser = Parser("sparsead figure", __doc__, usage=usage)
    named = "figure1, figure2, figure4, a table, or a path that ends in .yaml"
    parser.add_argument("table", metavar="TABLE", help=named)
    add_overrides(parser, "as `sparsead reproduce` takes them")
    add_outputs(parser)
    add_records(parser)
    where = "folder of the PNG and the SVG (default: OUTPUTS/figures)"
    parser.add_argument("--out", metavar="FOLDER", type=user_path, help=where)
    arguments = parser.parse(given)
    place = (arguments.outputs, arguments.records)
    with open_results(arguments.table, arguments.overrides, *place) as results:
        paths = save_figure(results, arguments.out or arguments.outputs / "figures")
    if not paths:
        where = arguments.records or arguments.outputs
        raise RecordError(f"{where}: has no finished runs of {arguments.table} to draw")
    sys.stdout.write("".join(f"{path}\n" for path in paths))
