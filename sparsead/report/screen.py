"""What of a table fits a terminal: the important columns first, in the table's own order."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from sparsead.errors.display import terminal_width

LEAST_WIDTH = 18
"""A column may be narrowed to this, or to its longest word, by breaking its cells over lines."""
_KEY = re.compile(r"[a-z_]+(\.\w+)+")
"""A key of the configuration as a heading."""
_MARGIN = 2
"""Number of characters that stay free at the end of a line of a table."""
_FOR_FILE = ContextVar("for_file", default=False)
"""Whether what is laid out now is written to a file and not to standard output."""


class Fitted(NamedTuple):
    """The columns that fit, and those that do not."""

    shown: list[str]
    hidden: list[str]


@contextmanager
def layout_for_file() -> Iterator[None]:
    """Lay out within the block what is written to a file: the same text whatever the terminal."""
    token = _FOR_FILE.set(True)
    try:
        yield
    finally:
        _FOR_FILE.reset(token)


def is_on_screen() -> bool:
    """Tell whether what is laid out is shown on a terminal, which has a width and styles."""
    return sys.stdout.isatty() and not _FOR_FILE.get()


def screen_width() -> int | None:
    """Return the number of columns of the terminal; None if the output goes somewhere else."""
    return terminal_width() if is_on_screen() else None


def wrap(text: str) -> list[str]:
    """Return a text in lines that fit the terminal; in one line if the output goes elsewhere."""
    width = screen_width()
    return [text] if width is None else textwrap.wrap(text, width) or [""]


def fit_columns(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    order: Sequence[str],
    width: int,
    gap: int,
    least: int = LEAST_WIDTH,
) -> Fitted:
    """Choose as many columns as fit, the important ones first.

    A column whose cells are all the same distinguishes no rows: it is the least important. Of the
    others, those in `order` come first.

    Args:
        columns: the headings.
        cells: the texts of each row, one for each column.
        order: some or all of the columns, the most important first.
        width: number of characters in a line.
        gap: number of characters that a table puts between two columns.
        least: width to which a column of longer cells can be narrowed.
    """
    by_column = dict(zip(columns, zip(*cells, strict=True), strict=True)) if cells else {}
    needed = {c: _least_width([c, *by_column.get(c, ())], least) for c in columns}
    ranked = sorted(columns, key=lambda c: (_is_constant(by_column, c), _rank(order, c)))
    while len(ranked) > 1 and sum(needed[c] + gap for c in ranked) - gap > width - _MARGIN:
        ranked.pop()
    return Fitted([c for c in columns if c in ranked], [c for c in columns if c not in ranked])


def describe_hidden(
    fitted: Fitted, columns: Sequence[str], cells: Sequence[Sequence[str]], how: str
) -> str:
    """Return lines on the columns that do not fit; a column of one value is given with its value.

    A column that is named after a key of the configuration is there because it tells rows apart
    that are alike otherwise, and is named as such.

    Args:
        fitted: the columns.
        columns: the headings.
        cells: the texts of each row.
        how: what shows all columns, such as `--wide`.
    """
    if not fitted.hidden:
        return ""
    by_column = dict(zip(columns, zip(*cells, strict=True), strict=True)) if cells else {}
    same = [c for c in fitted.hidden if _is_constant(by_column, c) and by_column[c][0]]
    varying = [c for c in fitted.hidden if not _is_constant(by_column, c)]
    telling = [c for c in varying if _KEY.fullmatch(c)]
    others = [c for c in varying if c not in telling]
    said = {
        f"In every row: {', '.join(f'{c} {_first(by_column[c])}' for c in same)}.": same,
        f"Rows that look alike differ in {', '.join(telling)} ({how} shows them).": telling,
        f"Not shown here: {', '.join(others)} ({how} shows all).": others,
    }
    lines = [line for text, named in said.items() if named for line in wrap(text)]
    return "".join(f"{line}\n" for line in lines)


def _least_width(texts: Sequence[str], least: int) -> int:
    lines = [line for text in texts for line in text.splitlines()]
    natural = max(map(len, lines), default=0)
    longest_word = max((len(word) for line in lines for word in line.split()), default=0)
    return min(natural, max(least, longest_word))


def _is_constant(by_column: Mapping[str, Sequence[str]], column: str) -> bool:
    values = by_column.get(column, ())
    return len(values) > 1 and len(set(values)) == 1


def _first(values: Sequence[str]) -> str:
    return values[0].replace("\n", "; ")


def _rank(order: Sequence[str], column: str) -> int:
    return order.index(column) if column in order else len(order)
