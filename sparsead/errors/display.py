"""Make text that comes from a file safe to show: in a terminal, in JSON and in a spreadsheet.

A record, a data file or a table's file may come from somebody else. Control characters in it could
move the terminal's cursor, hide a line or retitle the window; a cell that begins with `=` is run by
spreadsheets as a formula. Whatever the commands print or write passes through this module.

It also lets a command go on where nobody reads its output any more.
"""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

# C0 except line feed and tab, delete, C1, line and paragraph separators, invisible and
# bidirectional marks, and surrogates, which no encoding can write.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


class SafeFormatter(logging.Formatter):
    """Formats log messages, which may quote names from data, such as those of classes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message with control characters as visible escapes."""
        return escape_controls(super().format(record))


def escape_controls(text: str) -> str:
    r"""Return the text with control characters as visible escapes, such as `\x1b`."""
    if text.isprintable():  # nearly always, and much faster to tell
        return text
    return _UNSAFE.sub(lambda found: ascii(found.group())[1:-1], text)


def one_line(text: str) -> str:
    """Return the text in one line, with control characters as visible escapes."""
    return escape_controls(" ".join(text.split()))


def pluralize(number: int, noun: str) -> str:
    """Return a number and a noun, in the plural where needed: "1 seed", "2 seeds"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def wrap(text: str) -> str:
    """Break a line of the terminal between words; a path stays whole, so that it can be copied."""
    width = terminal_width()
    margin = " " * (len(text) - len(text.lstrip()))
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join([lines[0], *(margin + line for line in lines[1:])]) if lines else ""


def tell(message: str) -> None:
    """Print one line for the user on standard error; a terminal breaks it between words."""
    line = f"sparsead: {one_line(message)}"
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"
    sys.stderr.write(f"{wrap(line) if sys.stderr.isatty() else line}\n")


def to_columns(lines: Iterable[tuple[str, str]]) -> str:
    """Return lines of a name and its description; on a terminal, long descriptions are wrapped."""
    listed = list(lines)
    columns = _screen_columns()
    widest = min(_WIDEST_NAME, columns // 2)
    indent = max((len(name) for name, _ in listed if len(name) <= widest), default=0) + 2
    written = []
    for name, said in listed:
        text = break_lines(said, columns - indent) or [""]
        beside = len(name) + 2 <= indent or columns == _UNBOUNDED
        if beside:
            name = f"{name:<{indent - 2}}  {text.pop(0)}".rstrip()
        written += [name, *(" " * indent + line for line in text if line)]
    return "".join(f"{line}\n" for line in written)


def to_paragraph(name: str, said: str) -> str:
    """Return a name and a text about it in one paragraph, which fits the terminal."""
    first, *more = break_lines(f"{name} {said}", _screen_columns() - 2) or [""]
    return "".join(f"{line}\n" for line in (first, *(f"  {line}" for line in more)))


def break_lines(text: str, width: int) -> list[str]:
    """Return a text in lines of at most this many characters; names keep their hyphens."""
    return textwrap.wrap(escape_controls(text), width, break_on_hyphens=False)


def terminal_width() -> int:
    """Return the terminal's number of columns, or what COLUMNS says; at least what can be read."""
    return max(shutil.get_terminal_size().columns, _NARROWEST)


def _screen_columns() -> int:
    return terminal_width() if sys.stdout.isatty() else _UNBOUNDED


_LONGEST = 4000
"""The most characters of a message; a longer one quotes a value that nobody could read."""
_NARROWEST = 20
"""The fewest columns that text is broken to; a narrower terminal breaks its lines again."""


_WIDEST_NAME = 44
"""The most characters of a name that widen the column of the names; on a terminal, half of it."""
_UNBOUNDED = 10_000


def escape_json(text: str) -> str:
    r"""Return JSON text with the control characters in its strings as `\uXXXX`: the same values."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def escape_formula(cell: Any) -> Any:
    """Return a spreadsheet's cell such that it is shown and not run; numbers stay numbers.

    A text that begins like a formula gets an apostrophe in front, as spreadsheets themselves
    write it.
    """
    if not isinstance(cell, str):
        return cell
    text = escape_controls(cell)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def protect_output() -> None:
    """Let this process go on where its output cannot be written.

    A pipe that nobody reads any more, a full disk or a closed stream would raise in the middle of a
    command, and a training that prints its progress would be lost with it. With this, the run is
    finished and recorded. A character that the output's encoding lacks would raise as well, and is
    written as an escape. `describe_lost_output` says in the end what was lost.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed by whoever started this process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
            continue
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        if not isinstance(stream, ProtectedStream):
            setattr(sys, name, cast(TextIO, ProtectedStream(stream)))


def describe_lost_output() -> str | None:
    """Return why a part of the output is lost; None if all was written, or if nobody reads it."""
    sys.stdout.flush()
    if not isinstance(sys.stdout, ProtectedStream) or sys.stdout.error is None:
        return None
    return f"standard output: cannot be written ({sys.stdout.error.strerror})"


class ProtectedStream:
    """A text stream like the given one, that writes to nowhere once it cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        """Take the stream to write to."""
        self._stream = stream
        self.error: OSError | None = None
        """Why it could not be written; None also for a pipe that nobody reads any more."""

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        with self._discarding():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is in the buffer."""
        with self._discarding():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Return any other member of the stream, such as its encoding."""
        return getattr(self._stream, name)

    @contextmanager
    def _discarding(self) -> Iterator[None]:
        """After an error, let the stream's file, and so the rest of its buffer, go to nowhere."""
        try:
            yield
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.error = error
            # A stream that is no file raises again; its errors end here each time.
            with suppress(OSError), open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
