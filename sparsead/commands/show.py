"""`sparsead show`: show a run's masks or errors, or what differs between two runs.

$ sparsead show RUN
$ sparsead show RUN --errors
$ sparsead show RUN --against RUN2
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace

from sparsead.config.arguments import Parser, add_json, add_run_arguments
from sparsead.errors import ConfigError
from sparsead.report.differences import describe_differences
from sparsead.report.errors import compare_errors, summarize_errors
from sparsead.report.masks import (
    compare_masks,
    has_weights,
    load_masks,
    mask_values,
    summarize_masks,
)
from sparsead.runs.query import find_run
from sparsead.runs.record import RunRecord

_COUNT = 20


def main() -> None:
    """Entry point of `sparsead show`."""
    parser = Parser("sparsead show", __doc__)
    add_run_arguments(parser)
    another = (
        "another run: what differs, environment included, and the overlap of the masks; with "
        "--errors, where it is better"
    )
    parser.add_argument("--against", metavar="RUN2", help=another)
    errors = "list the examples that RUN predicted wrongly, the worst first"
    parser.add_argument("--errors", action="store_true", help=errors)
    split = "split of the errors (default: the one of the run's scores)"
    parser.add_argument("--split", help=split)
    count = f"number of errors to list (default: {_COUNT})"
    parser.add_argument("--count", type=int, metavar="N", help=count)
    add_json(parser)
    arguments = parser.parse()
    _check(arguments)
    record = find_run(arguments.run, arguments.outputs)
    if arguments.json:
        sys.stdout.write(f"{json.dumps(mask_values(record), indent=2)}\n")
        return
    against = arguments.against
    other = None if against is None else find_run(against, arguments.outputs)
    if arguments.errors:
        sys.stdout.write(_show_errors(record, other, arguments.split, arguments.count or _COUNT))
        return
    if other is None:
        sys.stdout.write(summarize_masks(record))
        return
    sys.stdout.write(describe_differences(record, other) + _compare_masks(record, other))


def _compare_masks(record: RunRecord, other: RunRecord) -> str:
    for run in (record, other):
        if not has_weights(run):
            return f"\nThe masks are not compared: {run.folder} is a record without weights.\n"
    if not (load_masks(record) and load_masks(other)):
        return ""
    return f"\n{summarize_masks(record)}{compare_masks(record, other)}"


def _show_errors(record: RunRecord, other: RunRecord | None, split: str | None, count: int) -> str:
    text = summarize_errors(record, split, count)
    return text if other is None else text + compare_errors(record, other, split, count)


def _check(arguments: Namespace) -> None:
    """Refuse options that would have no effect, and a count of less than one."""
    for option in ("split", "count"):
        if not arguments.errors and getattr(arguments, option) is not None:
            raise ConfigError(f"show: --{option} works only with --errors")
    if arguments.json and (arguments.errors or arguments.against):
        raise ConfigError(
            "show: --json has a run's masks alone; `sparsead.predictions(RUN)` gives its errors"
        )
    if arguments.count is not None and arguments.count < 1:
        raise ConfigError(f"show: --count {arguments.count}: must be at least 1")
