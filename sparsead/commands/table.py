"""`sparsead table`: print a table from its records, or all finished runs, one row per setting.

`sparsead table table3 backbone=minilm` accepts the same overrides as `sparsead reproduce`, and
`sparsead table task=mrpc`, without the name of a table, the same filters as `sparsead runs`.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from sparsead.config.arguments import (
    Parser,
    add_outputs,
    add_overrides,
    add_records,
    add_wide,
    user_path,
)
from sparsead.config.search import GRID
from sparsead.errors import ConfigError, unknown, warn
from sparsead.report.choice import choose_best_points, count_points
from sparsead.report.formats import FORMATS, to_rich
from sparsead.report.settings import group_by_setting, list_columns, rank_columns
from sparsead.report.tabulate import TABLE_FORMATS, render
from sparsead.runs.listing import Filter, choose_runs, list_runs


def main() -> None:
    """Entry point of `sparsead table`."""
    parser = Parser("sparsead table", __doc__)
    named = "table1, …, or a path that ends in .yaml; without TABLE, all runs by setting"
    parser.add_argument("table", nargs="?", metavar="TABLE", help=named)
    add_overrides(parser, "as `sparsead reproduce` takes them; without TABLE, as `sparsead runs`")
    add_outputs(parser)
    add_records(parser)
    parser.add_argument("--format", choices=sorted(TABLE_FORMATS), default="rich")
    of_grids = "show only the best learning rate, epochs and batch size; of TABLE with search=grid"
    parser.add_argument("--best", action="store_true", help=of_grids)
    add_wide(parser)
    where = "write to this file (default: the terminal)"
    parser.add_argument("--out", type=user_path, metavar="FILE", help=where)
    arguments = parser.parse()
    if arguments.table is not None and _is_filter(arguments.table):
        arguments.overrides.insert(0, arguments.table)
        arguments.table = None
    if arguments.records is not None and arguments.table is None:
        raise ConfigError("--records: works only with the name of a table")
    text = _text(arguments)
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        from sparsead.report.publish import write_text

        write_text(arguments.out, text)
        sys.stdout.write(f"{arguments.out}\n")


def _text(arguments: Namespace) -> str:
    if arguments.table is None:
        return _settings(arguments)
    from sparsead.report.opened import open_results
    from sparsead.report.other_settings import describe_other_settings
    from sparsead.report.view import build_view
    from sparsead.tables.cells import list_cells

    place = (arguments.outputs, arguments.records)
    searched = any(override.startswith("search=") for override in arguments.overrides)
    grid = ["search=grid"] if arguments.best and not searched else []
    with open_results(arguments.table, [*grid, *arguments.overrides], *place) as results:
        text = render(build_view(results), arguments.format, wide=is_wide(arguments))
    if arguments.records is None:  # an archive is read whole; there are no other runs to name
        others = describe_other_settings(list_cells(results.table))
        if others is not None:
            warn(others)
    return text


def _is_filter(word: str) -> bool:
    """Tell whether a word is KEY=PATTERN, and not the path of a table's file."""
    return "=" in word and not word.endswith(".yaml")


def is_wide(arguments: Namespace) -> bool:
    """Tell whether a table shows all columns: on request, and in a file."""
    return bool(arguments.wide or arguments.out)


def _settings(arguments: Namespace) -> str:
    outputs: Path = arguments.outputs
    form, best = arguments.format, arguments.best
    if form not in FORMATS:
        raise ConfigError(f"{unknown('--format', form, FORMATS)} without the name of a table")
    filters = [Filter.read(given) for given in arguments.overrides]
    records = [run.record for run in choose_runs(list_runs(outputs), filters) if run.record]
    always = [f"protocol.{key}" for key in GRID] if best else []
    shown = choose_best_points(records) if best else records
    rows = group_by_setting(shown, always, count_points(records) if best else None)
    if not rows:
        which = f" with {' '.join(arguments.overrides)}" if filters else ""
        sys.stderr.write(f"sparsead: {outputs}: has no finished runs{which} yet\n")
        return ""
    columns = list_columns(rows)
    if form == "rich":
        return to_rich(columns, rows, rank_columns(rows), wide=is_wide(arguments))
    return FORMATS[form](columns, rows)
