"""Write RESULTS.md anew from the records: python scripts/make_results.py.

In RESULTS.md, a command of `sparsead` stands in a comment before what it prints:

    <!-- sparsead table results/table1.yaml --records results/minilm.parquet --format md -->
    …
    <!-- end -->

What is between the two comments is replaced by the output of the command, or by its pictures. Only
the records in `results/` are read, so that neither the data nor the weights are needed.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

from sparsead import cli
from sparsead.runs.archive import archives_kept_unpacked

RESULTS = "RESULTS.md"
_DRAWING = ("figure", "map")
"""The verbs of which the page shows the picture alone; `map` prints a table, and names it apart."""
_BLOCK = re.compile(r"(<!-- sparsead ([^\n]*) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(__file__).resolve().parents[1],
        help="the folder of RESULTS.md and results/ (default: that of the project)",
    )
    write_results(parser.parse_args().folder)


def write_results(folder: Path) -> None:
    """Run the commands in a folder's RESULTS.md, and write what they print after each of them."""
    file = folder / RESULTS
    with archives_kept_unpacked():
        text = _BLOCK.sub(partial(run_block, folder), file.read_text("utf-8"))
    file.write_text(text, "utf-8")


def run_block(folder: Path, block: re.Match[str]) -> str:
    """Return the block with what its command prints now.

    All commands run in this process, so that torch is imported once, an archive is unpacked once
    and a configuration that is in several tables is composed once.

    Raises:
        SystemExit: the command failed, and has said why.
    """
    begin, command, end = block.groups()
    verb, *arguments = shlex.split(command)
    said = StringIO()
    try:
        with chdir(folder), redirect_stdout(StringIO()) as printed, redirect_stderr(said):
            cli.run(verb, arguments)
    finally:
        sys.stderr.write(said.getvalue())
    lines = printed.getvalue().splitlines()
    if verb in _DRAWING:
        lines += said.getvalue().splitlines()
        lines = [f"![{Path(line).stem}]({line})" for line in lines if line.endswith(".svg")]
    return "\n".join([begin.rstrip("\n"), *lines, "", end])


if __name__ == "__main__":
    main()
