"""A command in a pseudo-terminal, and what stands on its screen at the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_MOVE = re.compile(r"\x1b\[(\d*)([A-Z])|\x1b\[\?25[lh]")


class Ended(NamedTuple):
    """A command that has ended in a pseudo-terminal.

    `screen` has the lines that are left, without styles; `drawn` is everything that was written.
    `broken` has the lines that were longer than the terminal, as far as it showed them in one.
    """

    status: int
    screen: list[str]
    drawn: str
    broken: list[str]


def run_at_terminal(words: Sequence[str], folder: Path, columns: int = 80, **environ: str) -> Ended:
    """Run the console script `sparsead` in a terminal of this many columns and 24 lines."""
    script = Path(sys.executable).with_name("sparsead")
    child, terminal = pty.fork()
    if child == 0:
        unset = ("COLUMNS", "LINES", "NO_COLOR")
        own = {key: value for key, value in os.environ.items() if key not in unset}
        os.chdir(folder)
        os.execve(script, ["sparsead", *words], own | {"TERM": "xterm-256color"} | environ)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the child has closed its end
            break
        if not part:
            break
        written += part
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    drawn = written.decode()
    screen, broken = _screen(drawn, columns)
    return Ended(status, screen, drawn, broken)


def _screen(drawn: str, columns: int) -> tuple[list[str], list[str]]:
    """Return the lines that are left of what a terminal was sent, and those that it had to break.

    Known are carriage return, line feed, and the sequences with which rich moves and erases; any
    other one raises an error.
    """
    lines: list[list[str]] = [[]]
    broken: list[str] = []
    row = column = 0
    left = _STYLE.sub("", drawn)
    while left:
        found = _MOVE.match(left)
        if found:
            count = int(found[1] or 0) if found[1] is not None else 0
            if found[2] == "A":
                row = max(0, row - (count or 1))
            elif found[2] == "K":  # 2: the whole line
                lines[row] = [] if count == 2 else lines[row][:column]
            elif found[2] is not None:
                raise ValueError(f"unknown sequence {found[0]!r}")
            left = left[found.end() :]
            continue
        character, left = left[0], left[1:]
        if character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            lines += [[]] if row == len(lines) else []
        elif character == "\x1b":
            raise ValueError(f"unknown sequence {left[:8]!r}")
        else:
            if column == columns:
                broken.append("".join(lines[row]))
                row, column = row + 1, 0
                lines += [[]] if row == len(lines) else []
            line = lines[row]
            line += [" "] * (column + 1 - len(line))
            line[column] = character
            column += 1
    return ["".join(line).rstrip() for line in lines], broken
