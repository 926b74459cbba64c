"""Format a table for the terminal, or as Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from sparsead.errors.display import escape_controls, escape_formula, one_line
from sparsead.report.screen import (
    LEAST_WIDTH,
    describe_hidden,
    fit_columns,
    is_on_screen,
    screen_width,
)
from sparsead.report.statistics import Estimate, MeanInterval

Rows = Sequence[Mapping[str, Any]]
Format = Callable[[Sequence[str], Rows], str]

_UNBOUNDED = 1000
_GAP = 3
"""Number of characters between two columns of a table that is fitted to the terminal."""
_PLAIN_GAP = 2
_SHORT = 18
"""Cells of at most this many characters are never broken over lines."""
_RULED_ROWS = 200
_NUMBER = re.compile(r"[*_]*[-+−]?\d|missing|failed")
_LATEX_SPECIAL = {character: rf"\{character}" for character in "%#_&${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "−": r"$-$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
}
_MARKDOWN_SPECIAL = {character: rf"\{character}" for character in "\\`*_|[]"} | {
    "<": "&lt;",
    ">": "&gt;",
    "&": "&amp;",
}
_MARKDOWN_MARKS = {"bold": "**{}**", "underline": "<u>{}</u>"}
_PLAIN_MARKS = {"bold": "**{}**", "underline": "_{}_"}
"""What stands for bold and underlined text where the output has no styles."""
_LATEX_MINUS = re.compile(r"(?<![\w.])-(?=\d)")
"""The sign of a negative number, which LaTeX would print as a hyphen."""
_LATEX_PACKAGES = r"\usepackage{booktabs, graphicx}"
_LATEX_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Scales a table down to the width of the text; one that is narrower stays as it is."""
_LATEX_MARKS = {"bold": r"\textbf{{{}}}", "underline": r"\underline{{{}}}"}


@dataclass(frozen=True)
class Marked:
    """A text to print in bold or underlined, and smaller lines below it in the same cell."""

    text: str
    mark: str | None = None
    below: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([self.text, *self.below])


def to_plain(
    columns: Sequence[str], rows: Rows, order: Sequence[str] = (), *, wide: bool | None = None
) -> str:
    """Return a table as aligned plain text; for long tables this is much faster than `to_rich`.

    On a terminal only the columns that fit are shown, as by `to_rich`.
    """
    rows = _write_marks(rows)
    shown, hidden = _fit(columns, rows, order, wide=wide, gap=_PLAIN_GAP)
    lines = [_heads(shown), *([_flat(cell) for cell in _cells(shown, row)] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "".join(f"{line.rstrip()}\n" for line in padded) + hidden


def to_rich(
    columns: Sequence[str], rows: Rows, order: Sequence[str] = (), *, wide: bool | None = None
) -> str:
    """Return a table for the terminal, with styles only on one; elsewhere `**` stands for bold.

    On a terminal the table is as wide as that, and columns that do not fit are named below it;
    elsewhere it is as wide as its content. A table of more than 200 rows is returned as plain text.

    Args:
        columns: the headings.
        rows: the cells by heading.
        order: the columns that are shown first where not all of them fit.
        wide: show all columns, and so lines that the terminal breaks; None where the verb has no
            option `--wide` that asks for it.
    """
    if len(rows) > _RULED_ROWS:
        return to_plain(columns, rows, order, wide=wide)
    from rich.box import HEAVY_HEAD, SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = None if wide else screen_width()
    fitted = width is not None
    console = Console(
        file=(text := io.StringIO()), width=width or _UNBOUNDED, force_terminal=is_on_screen()
    )
    rows = rows if console.color_system else _write_marks(rows)
    shown, hidden = _fit(columns, rows, order, wide=wide)
    table = Table(box=SIMPLE_HEAD if fitted else HEAVY_HEAD, pad_edge=not fitted)
    for head, values in zip(_heads(shown), _columns(shown, rows), strict=True):
        justify: Literal["left", "right"] = "right" if fitted and _are_numbers(values) else "left"
        short = fitted and _is_short([head, *values])
        table.add_column(Text(head), justify=justify, no_wrap=short)
    for row in rows:
        table.add_row(*(_styled(cell) for cell in _cells(shown, row)))
    console.print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "".join(f"{line}\n" for line in lines if line) + hidden


def to_markdown(columns: Sequence[str], rows: Rows) -> str:
    """Return a Markdown table."""
    cells = [_cells(columns, row) for row in rows]
    head = [escape_markdown(name) for name in _heads(columns)]
    lines = [head, ["---"] * len(columns), *([_in_markdown(c) for c in line] for line in cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _in_markdown(cell: Any) -> str:
    below = cell.below if isinstance(cell, Marked) else ()
    marked = _written(cell, escape_markdown, _MARKDOWN_MARKS)
    return "<br>".join([marked, *(escape_markdown(line) for line in below)])


def to_latex(columns: Sequence[str], rows: Rows, caption: str | None = None) -> str:
    """Return a LaTeX table with booktabs rules, that is never wider than the text.

    Columns of numbers are aligned on the right, and what stands below the number in a cell is in
    smaller lines of their own. The first line is a comment with the packages that it needs.
    """
    lines = [_cells(columns, row) for row in rows]
    body = [line for cells in lines for line in _latex_lines(cells)]
    numbers = [_are_numbers(values) for values in _columns(columns, rows)]
    head = [_in_latex(name) for name in _heads(columns)]
    tabular = [
        rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numbers)}}}",
        *(r"\toprule", " & ".join(head) + r" \\", r"\midrule"),
        *(" & ".join(line) + r" \\" for line in body),
        *(r"\bottomrule", r"\end{tabular}"),
    ]
    title = "" if caption is None else rf"\caption{{{_in_latex(caption)}}}"
    begin = [
        f"% {_LATEX_PACKAGES}",
        r"\begin{table}",
        r"\centering",
        *([title] if title else []),
        _LATEX_FIT,
    ]
    return "\n".join([*begin, *tabular, "}", r"\end{table}", ""])


def _latex_lines(cells: Sequence[Any]) -> Iterator[list[str]]:
    """Yield the line of a row, and smaller lines with what is below the numbers."""
    yield [_written(cell, _in_latex, _LATEX_MARKS) for cell in cells]
    below = [cell.below if isinstance(cell, Marked) else () for cell in cells]
    for line in zip_longest(*below, fillvalue=""):
        yield [rf"\footnotesize {_in_latex(text)}" if text else "" for text in line]


def to_csv(columns: Sequence[str], rows: Rows) -> str:
    """Return the table as CSV with a header; all numbers are in columns of their own.

    An estimate gives two columns, mean and `_sd`, and an interval `_low` and `_high`.
    """
    return write_csv([_plain(row) for row in rows], columns)


def write_csv(rows: Rows, columns: Sequence[str] = ()) -> str:
    """Return rows of plain values as CSV; a text that spreadsheets would run is only shown.

    The header has the keys of all rows; where there are no rows, it is `columns`.
    """
    names = list(dict.fromkeys(name for row in rows for name in row)) or columns
    writer = csv.writer(text := io.StringIO(), lineterminator="\n")
    writer.writerow(map(escape_formula, names))
    writer.writerows([escape_formula(row.get(name)) for name in names] for row in rows)
    return text.getvalue()


def escape_markdown(text: str) -> str:
    """Return a text in one line that Markdown prints as it is."""
    return _escaped(text, _MARKDOWN_SPECIAL)


def to_json(_columns: Sequence[str], rows: Rows) -> str:
    """Return the rows as a JSON list of objects, with the keys that are the columns of `to_csv`."""
    return json.dumps([_plain(row) for row in rows], indent=2) + "\n"


FORMATS: dict[str, Format] = {
    "rich": to_rich,
    "md": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "json": to_json,
}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Estimate):
            plain |= {name: value.mean, f"{name}_sd": value.sd}
        elif isinstance(value, MeanInterval):
            plain |= {f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            plain[name] = value
    return plain


def _written(cell: Any, escape: Callable[[str], str], marks: Mapping[str, str]) -> str:
    if not isinstance(cell, Marked):
        return escape(str(cell))
    return marks.get(_mark(cell), "{}").format(escape(cell.text))


def _in_latex(text: str) -> str:
    """Return a text in one line that LaTeX prints as it is, with minus signs before numbers."""
    parts = _LATEX_MINUS.split(one_line(text))
    return "$-$".join(_replaced(part, _LATEX_SPECIAL) for part in parts)


def _escaped(text: str, special: Mapping[str, str]) -> str:
    return _replaced(one_line(text), special)


def _replaced(text: str, special: Mapping[str, str]) -> str:
    return "".join(special.get(character, character) for character in text)


def _cells(columns: Sequence[str], row: Mapping[str, Any]) -> list[Any]:
    return ["" if row.get(column) is None else _shown(row[column]) for column in columns]


def _heads(columns: Sequence[str]) -> list[str]:
    return [escape_controls(column) for column in columns]


def _shown(cell: Any) -> Any:
    """Return a cell whose text is safe to print; numbers and estimates are left as they are."""
    if isinstance(cell, Marked):
        below = tuple(map(escape_controls, cell.below))
        return Marked(escape_controls(cell.text), cell.mark, below)
    return escape_controls(cell) if isinstance(cell, str) else cell


def _mark(cell: Any) -> str:
    return (cell.mark or "") if isinstance(cell, Marked) else ""


def _styled(cell: Any) -> Any:
    from rich.text import Text

    if not isinstance(cell, Marked):
        return Text(str(cell))
    below = [Text(f"\n{line}", style="dim") for line in cell.below]
    return Text.assemble(Text(cell.text, style=_mark(cell)), *below)


def _write_marks(rows: Rows) -> list[dict[str, Any]]:
    """Return the rows with the marks of their cells as characters, which need no styles."""
    return [{head: _write_mark(cell) for head, cell in row.items()} for row in rows]


def _write_mark(cell: Any) -> Any:
    if not isinstance(cell, Marked) or cell.mark is None:
        return cell
    return Marked(_PLAIN_MARKS[cell.mark].format(cell.text), below=cell.below)


def _flat(cell: Any) -> str:
    return str(cell).replace("\n", "; ")


def _is_short(texts: Sequence[str]) -> bool:
    return max((len(line) for text in texts for line in text.splitlines()), default=0) <= _SHORT


def _are_numbers(texts: Sequence[str]) -> bool:
    """Tell whether a column has numbers; a cell may have more behind the number or below it."""
    given = [text for text in texts if text]
    return bool(given) and all(_NUMBER.match(text) for text in given)


def _columns(columns: Sequence[str], rows: Rows) -> list[list[str]]:
    lines = [[str(cell) for cell in _cells(columns, row)] for row in rows]
    return [[line[number] for line in lines] for number in range(len(columns))]


def _fit(
    columns: Sequence[str],
    rows: Rows,
    order: Sequence[str],
    *,
    wide: bool | None,
    gap: int = _GAP,
) -> tuple[list[str], str]:
    """Return the columns that fit the terminal, and lines on those that do not.

    Plain text, with its smaller gap, has each cell in one line, whatever the column's width.
    """
    width = None if wide else screen_width()
    if width is None:
        return [*columns], ""
    lay_out, least = (str, LEAST_WIDTH) if gap == _GAP else (_flat, width)
    cells = [[lay_out(cell) for cell in _cells(columns, row)] for row in rows]
    fitted = fit_columns(columns, cells, order or columns, width, gap, least)
    how = "a wider terminal" if wide is None else "--wide"
    return fitted.shown, describe_hidden(fitted, columns, cells, how)
