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
import subprocess
import sys
from functools import partial
from pathlib import Path

RESULTS = "RESULTS.md"
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
    text = _BLOCK.sub(partial(run_block, folder), file.read_text("utf-8"))
    file.write_text(text, "utf-8")


def run_block(folder: Path, block: re.Match[str]) -> str:
    """Return the block with what its command prints now.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    begin, command, end = block.groups()
    script = Path(sys.executable).with_name("sparsead")
    words = [str(script), *shlex.split(command)]
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    if command.startswith("figure "):
        lines = [f"![{Path(line).stem}]({line})" for line in lines if line.endswith(".svg")]
    return "\n".join([begin.rstrip("\n"), *lines, "", end])


if __name__ == "__main__":
    main()
