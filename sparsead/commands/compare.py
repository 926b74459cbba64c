"""`sparsead compare`: train and compare all values of some keys, such as two pruners, on a table.

`sparsead compare pruner=snip,random task=demo_mrpc,demo_stsb seed=1,2,3` makes a row of each pruner
and a column of each task, and compares every row with the first one. Runs that are recorded are not
trained again. A pruner of your own needs `--config-dir FOLDER`.

$ sparsead compare pruner=snip,random seed=1,2,3
"""

from __future__ import annotations

from collections.abc import Sequence

from sparsead.commands.reproduce import reproduce
from sparsead.config.arguments import Parser, add_output_options, add_overrides
from sparsead.config.launch import check_launcher, take_launcher
from sparsead.errors import ConfigError
from sparsead.progress import output_as
from sparsead.tables.cells import Cell, list_cells
from sparsead.tables.comparison import compare_table

_UNMEASURED = "the time left is shown once the first run has been timed"
"""What is said of runs whose time is not known: `sparsead plan` knows the tables of files only."""


def main() -> None:
    """Entry point of `sparsead compare`."""
    parser = Parser("sparsead compare", __doc__)
    add_overrides(parser, "as `sparsead train -m` takes them; seeds=N instead of seed=1,…,N")
    parser.add_argument("--retry-failed", action="store_true", help="also train failed runs again")
    add_output_options(parser)
    arguments = parser.parse()
    launcher, overrides = take_launcher(arguments.overrides)
    check_launcher(launcher)
    table = compare_table(overrides)
    _check_rows(list_cells(table))
    with output_as(quiet=arguments.quiet, json=arguments.json):
        reproduce(table, retry=arguments.retry_failed, launcher=launcher, unmeasured=_UNMEASURED)


def _check_rows(cells: Sequence[Cell]) -> None:
    """Refuse two rows of the same runs, which differ in keys that change no run.

    Raises:
        ConfigError: the message names both rows.
    """
    rows: dict[tuple[str, str, str], str] = {}
    for cell in cells:
        place = (cell.backbone, cell.column, cell.request.identity)
        first = rows.setdefault(place, cell.row)
        if first != cell.row:
            raise ConfigError(
                f"compare: the rows {first} and {cell.row} would be the same runs; compare values "
                "of a key that changes what is trained"
            )
