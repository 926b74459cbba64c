"""`sparsead show`: show a run's masks: density, dead units, overlap with another run."""

from __future__ import annotations

import sys

from sparsead.config.arguments import Parser, add_run_arguments
from sparsead.report.masks import compare_masks, summarize_masks
from sparsead.runs.query import find_run


def main() -> None:
    """Entry point of `sparsead show`."""
    parser = Parser("sparsead show", __doc__)
    add_run_arguments(parser)
    other = "another run whose masks are compared with those of RUN"
    parser.add_argument("--against", metavar="RUN2", help=other)
    arguments = parser.parse()
    record = find_run(arguments.run, arguments.outputs)
    text = summarize_masks(record)
    if arguments.against is not None:
        text += compare_masks(record, find_run(arguments.against, arguments.outputs))
    sys.stdout.write(text)
