"""`sparsead figure`: draw a run's masks, a table's figure, or any finished runs.

`sparsead figure curves task=mrpc` draws learning curves, `sparsity` the score against the share of
weights removed, and `params` against the trained parameters, of the runs that match the filters.

$ sparsead figure curves task=mrpc
$ sparsead figure figure2 backbone=minilm
$ sparsead figure masks RUN --out masks.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

from sparsead.config.arguments import (
    Parser,
    add_outputs,
    add_overrides,
    add_records,
    add_run_arguments,
    folder_of_pictures,
    take_action,
    user_path,
)
from sparsead.errors import ConfigError, RecordError
from sparsead.report.masks_figure import draw_masks
from sparsead.report.opened import open_results
from sparsead.report.publish import save_figure
from sparsead.report.query_results import open_matching
from sparsead.runs.query import find_run
from sparsead.tables.files import is_table, unknown_table

MASKS = "masks"
QUERIES = {
    "curves": "score_by_training",
    "sparsity": "score_by_sparsity",
    "params": "score_by_parameters",
}
"""What is drawn of the runs that filters choose, and the kind of figure."""
KINDS = (MASKS, *QUERIES)
"""What is drawn besides tables."""


def main() -> None:
    """Entry point of `sparsead figure`."""
    shown, words = take_action(sys.argv[1:], KINDS)
    if shown == MASKS:
        _masks(words)
    elif shown is not None:
        _query(shown, words)
    else:
        _table(words)


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


def _query(shown: str, given: list[str]) -> None:
    """Draw the runs that match filters, one line or point for each setting."""
    parser = Parser(f"sparsead figure {shown}", __doc__)
    add_overrides(parser, "filters KEY=PATTERN, as `sparsead runs` takes them; all must match")
    add_outputs(parser)
    add_records(parser)
    _add_folder(parser)
    arguments = parser.parse(given)
    place = (arguments.outputs, arguments.records)
    with open_matching(arguments.overrides, *place, shown, "draw") as results:
        results.table.options["kind"] = QUERIES[shown]
        paths = save_figure(results, arguments.out or arguments.outputs / "figures")
    if not paths:
        raise RecordError(f"figure {shown}: these runs have no scores to draw")
    sys.stdout.write("".join(f"{path}\n" for path in paths))


def _add_folder(parser: Parser) -> None:
    where = "folder of the PNG and the SVG (default: OUTPUTS/figures)"
    parser.add_argument("--out", metavar="FOLDER", type=folder_of_pictures, help=where)


def _table(given: list[str]) -> None:
    usage = (
        "sparsead figure masks RUN\n"
        "   or: sparsead figure curves|sparsity|params [FILTER …]\n"
        "   or: sparsead figure TABLE [KEY=VALUE …]"
    )
    parser = Parser("sparsead figure", __doc__, usage=usage)
    named = "figure1, figure2, figure4, a table, or a path that ends in .yaml"
    parser.add_argument("table", metavar="TABLE", help=named)
    add_overrides(parser, "as `sparsead reproduce` takes them")
    add_outputs(parser)
    add_records(parser)
    _add_folder(parser)
    arguments = parser.parse(given)
    if not is_table(arguments.table):
        raise ConfigError(unknown_table(arguments.table, "figure", KINDS))
    place = (arguments.outputs, arguments.records)
    with open_results(arguments.table, arguments.overrides, *place) as results:
        paths = save_figure(results, arguments.out or arguments.outputs / "figures")
    if not paths:
        where = arguments.records or arguments.outputs
        raise RecordError(f"{where}: has no finished runs of {arguments.table} to draw")
    sys.stdout.write("".join(f"{path}\n" for path in paths))
