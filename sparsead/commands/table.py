"""`sparsead table`: print a table from its records, or all finished runs, one row per setting.

`sparsead table table3 backbone=minilm` accepts the same overrides as `sparsead reproduce`, and
`sparsead table task=mrpc`, without the name of a table, the same filters as `sparsead runs`.

$ sparsead table task=mrpc
$ sparsead table table3 backbone=minilm
$ sparsead table --format html --out report.html
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence

from sparsead.config.arguments import (
    Parser,
    add_json,
    add_outputs,
    add_overrides,
    add_records,
    add_wide,
    read_format,
    user_path,
)
from sparsead.config.choices import suggest_override
from sparsead.config.search import GRID, take_search
from sparsead.errors import ConfigError, RecordError, warn
from sparsead.errors.display import tell
from sparsead.report.choice import choose_best_points, count_points, describe_left_out
from sparsead.report.formats import FORMATS, to_rich
from sparsead.report.repeated import count_once
from sparsead.report.replacing import write_asked_file
from sparsead.report.screen import layout_for_file
from sparsead.report.settings import group_by_setting, list_columns, rank_columns
from sparsead.runs.listing import find_finished, open_place
from sparsead.runs.record import RunRecord
from sparsead.tables.files import is_table, unknown_table

_REPORT = "html"
_CHOICES = sorted([*FORMATS, _REPORT])


def main() -> None:
    """Entry point of `sparsead table`."""
    parser = Parser("sparsead table", __doc__)
    named = "table1, …, or a path that ends in .yaml; without TABLE, all runs by setting"
    parser.add_argument("table", nargs="?", metavar="TABLE", help=named)
    add_overrides(parser, "as `sparsead reproduce` takes them; without TABLE, as `sparsead runs`")
    add_outputs(parser)
    add_records(parser)
    parser.add_argument("--format", choices=_CHOICES, help="default: rich")
    of_grids = "show only the best learning rate, epochs and batch size; of TABLE with search=grid"
    parser.add_argument("--best", action="store_true", help=of_grids)
    add_wide(parser)
    add_json(parser)
    where = "write to this file (default: the terminal)"
    parser.add_argument("--out", type=user_path, metavar="FILE", help=where)
    arguments = parser.parse()
    arguments.format = read_format(arguments, "rich")
    if arguments.table is not None and _is_filter(arguments.table):
        arguments.overrides.insert(0, arguments.table)
        arguments.table = None
    if arguments.table is not None and not is_table(arguments.table):
        example = suggest_override(arguments.table) or "task=mrpc"
        raise ConfigError(f"{unknown_table(arguments.table)}, or filters such as {example}")
    if arguments.out is None:
        sys.stdout.write(_text(arguments))
        return
    with layout_for_file():
        text = _text(arguments)
    write_asked_file(arguments.out, text)
    sys.stdout.write(f"{arguments.out}\n")


def _text(arguments: Namespace) -> str:
    if arguments.table is None:
        return _settings(arguments)
    from sparsead.report.opened import open_results
    from sparsead.report.other_settings import describe_other_settings
    from sparsead.report.tabulate import render
    from sparsead.report.view import build_view
    from sparsead.tables.cells import list_cells

    place = (arguments.outputs, arguments.records)
    with open_results(arguments.table, _searched(arguments), *place) as results:
        text = render(build_view(results), arguments.format, wide=arguments.wide)
    if arguments.records is None:  # an archive is read whole; there are no other runs to name
        others = describe_other_settings(list_cells(results.table))
        if others is not None:
            warn(others)
    return text


def _searched(arguments: Namespace) -> list[str]:
    """Return the overrides of a table; with `--best` it has a search, by default the whole grid."""
    if not arguments.best:
        return list(arguments.overrides)
    overrides = ["search=grid", *arguments.overrides]  # a search that is typed comes later
    search, _ = take_search(overrides)
    if search is None:
        raise ConfigError(
            "search=null: --best shows the best point of a search; leave one of the two out"
        )
    return overrides


def _is_filter(word: str) -> bool:
    """Tell whether a word is KEY=PATTERN, and not the path of a table's file."""
    return "=" in word and not word.endswith((".yaml", ".yml"))


def _settings(arguments: Namespace) -> str:
    """Return all finished runs, or those that match filters, one row per setting."""
    form, best = arguments.format, arguments.best
    with open_place(arguments.outputs, arguments.records) as place:
        records = find_finished(arguments.overrides, place)
        if not records:
            where = arguments.records or arguments.outputs
            which = f" with {' '.join(arguments.overrides)}" if arguments.overrides else ""
            lack = f"{where}: has no finished runs{which}"
            if arguments.out is not None:  # an earlier table would be lost for an empty file
                raise RecordError(f"{lack} to write")
            tell(f"{lack} yet")
            return "[]\n" if arguments.format == "json" else ""
        shown = count_once(choose_best_points(records) if best else records)
        for said in describe_left_out(records) if best else ():
            warn(said)
        points = count_points(records) if best else None
        if form == _REPORT:
            return _report(shown, arguments.overrides, points)
    always = [f"protocol.{key}" for key in GRID] if best else []
    rows = group_by_setting(shown, always, points)
    columns = list_columns(rows)
    if form == "rich":
        return to_rich(columns, rows, rank_columns(rows), wide=arguments.wide)
    return FORMATS[form](columns, rows)


def _report(
    records: Sequence[RunRecord], filters: Sequence[str], points: Mapping[str, int] | None
) -> str:
    """Return the HTML report of some runs, or of the best of so many points of each setting."""
    from sparsead.report.query_results import tabulate_settings
    from sparsead.report.tabulate import render
    from sparsead.report.view import build_view

    title = f"Runs with {' '.join(filters)}" if filters else "All runs"
    if points is not None:
        title += ", the best point of each grid"
    return render(build_view(tabulate_settings(records, "runs", title, points)), _REPORT)
