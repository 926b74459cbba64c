"""`sparsead map`: list and draw the score of any runs against their number of trained weights.

Each setting (adapter, size, pruner, sparsity, …) is a line for each backbone, task and main metric.
It is on the front if no setting with at most as many trained weights has a better mean score, and
none with fewer the same one; the 95 % interval over the seeds says how sure its mean is.

$ sparsead map task=mrpc
$ sparsead map adapter=houlsby,lora --format csv
"""

from __future__ import annotations

import sys

from sparsead.config.arguments import (
    Parser,
    add_json,
    add_outputs,
    add_overrides,
    add_records,
    folder_of_pictures,
    read_format,
)
from sparsead.errors import warn
from sparsead.report.formats import FORMATS, to_rich
from sparsead.report.front import (
    COLUMNS,
    RANKED,
    describe_shared_seeds,
    describe_single_runs,
    list_rows,
)
from sparsead.report.publish import save_figure
from sparsead.report.query_results import open_matching

_KIND = "score_by_weights"


def main() -> None:
    """Entry point of `sparsead map`."""
    parser = Parser("sparsead map", __doc__)
    add_overrides(parser, "filters KEY=PATTERN, as `sparsead runs` takes them; all must match")
    parser.add_argument("--format", choices=sorted(FORMATS), help="default: rich")
    add_outputs(parser)
    add_records(parser)
    add_json(parser)
    where = "folder of the PNG and the SVG (default: OUTPUTS/figures)"
    parser.add_argument("--out", metavar="FOLDER", type=folder_of_pictures, help=where)
    arguments = parser.parse()
    arguments.format = read_format(arguments, "rich")
    place = (arguments.outputs, arguments.records)
    with open_matching(arguments.overrides, *place, "map", "map") as results:
        results.table.options["kind"] = _KIND
        rows = list_rows(results)
        lost = any(row["collapsed"] for row in rows)
        columns = [name for name in COLUMNS if lost or name != "collapsed"]
        if arguments.format == "rich":
            sys.stdout.write(to_rich(columns, rows, RANKED))
        else:
            sys.stdout.write(FORMATS[arguments.format](columns, rows))
        for said in (describe_single_runs(rows), describe_shared_seeds(results)):
            if said is not None:
                warn(said)
        paths = save_figure(results, arguments.out or arguments.outputs / "figures")
    for path in paths:
        sys.stderr.write(f"{path}\n")
