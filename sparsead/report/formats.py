"""Format a table for the terminal, or as Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsead.errors.display import escape_controls, escape_formula, one_line
from sparsead.report.statistics import Estimate

Rows = Sequence[Mapping[str, Any]]
Format = Callable[[Sequence[str], Rows], str]

_UNBOUNDED = 1000
_RULED_ROWS = 200
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
_LATEX_MARKS = {"bold": r"\textbf{{{}}}", "underline": r"\underline{{{}}}"}


def pluralize(number: int, noun: str) -> str:
    """Return a number and a noun, in the plural where needed: "1 seed", "2 seeds"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Marked:
    """A text to print in bold or underlined."""

    text: str
    mark: str

    def __str__(self) -> str:
        return self.text


def to_plain(columns: Sequence[str], rows: Rows) -> str:
    """Return a table as aligned plain text; for long tables this is much faster than `to_rich`."""
    lines = [_heads(columns), *([str(cell) for cell in _cells(columns, row)] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "".join(f"{line.rstrip()}\n" for line in padded)


def to_rich(columns: Sequence[str], rows: Rows) -> str:
    """Return a table for the terminal, as wide as its content; with styles only on a terminal.

    A table of more than 200 rows is returned as plain text.
    """
    if len(rows) > _RULED_ROWS:
        return to_plain(columns, rows)
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    table = Table(*map(escape, _heads(columns)))
    for row in rows:
        table.add_row(*(Text(str(cell), style=_mark(cell)) for cell in _cells(columns, row)))
    console = Console(file=(text := io.StringIO()), width=_UNBOUNDED, force_terminal=_on_terminal())
    console.print(table)
    return text.getvalue()


def to_markdown(columns: Sequence[str], rows: Rows) -> str:
    """Return a Markdown table."""
    head, *body = _lines(columns, rows, _MARKDOWN_SPECIAL, _MARKDOWN_MARKS)
    lines = [head, ["---"] * len(columns), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_latex(columns: Sequence[str], rows: Rows) -> str:
    """Return a LaTeX tabular with booktabs rules."""
    escaped = _lines(columns, rows, _LATEX_SPECIAL, _LATEX_MARKS)
    head, *body = [" & ".join(line) + r" \\" for line in escaped]
    rules = [rf"\begin{{tabular}}{{{'l' * len(columns)}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*rules, *body, r"\bottomrule", r"\end{tabular}", ""])


def to_csv(_columns: Sequence[str], rows: Rows) -> str:
    """Return the table as CSV with a header; an estimate gives two columns, mean and `_sd`."""
    return write_csv([_plain(row) for row in rows])


def write_csv(rows: Rows) -> str:
    """Return rows of plain values as CSV; a text that spreadsheets would run is only shown."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(text := io.StringIO(), lineterminator="\n")
    writer.writerow(map(escape_formula, names))
    writer.writerows([escape_formula(row.get(name)) for name in names] for row in rows)
    return text.getvalue()


def escape_markdown(text: str) -> str:
    """Return a text in one line that Markdown prints as it is."""
    return _escaped(text, _MARKDOWN_SPECIAL)


def to_json(_columns: Sequence[str], rows: Rows) -> str:
    """Return the rows as a JSON list of objects; an estimate gives two keys, mean and `_sd`."""
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
        else:
            plain[name] = value
    return plain


def _lines(
    columns: Sequence[str], rows: Rows, special: Mapping[str, str], marks: Mapping[str, str]
) -> list[list[str]]:
    lines = [_heads(columns), *(_cells(columns, row) for row in rows)]
    return [[_written(cell, special, marks) for cell in line] for line in lines]


def _written(cell: Any, special: Mapping[str, str], marks: Mapping[str, str]) -> str:
    return marks.get(_mark(cell), "{}").format(_escaped(str(cell), special))


def _escaped(text: str, special: Mapping[str, str]) -> str:
    return "".join(special.get(character, character) for character in one_line(text))


def _cells(columns: Sequence[str], row: Mapping[str, Any]) -> list[Any]:
    return ["" if row.get(column) is None else _shown(row[column]) for column in columns]


def _heads(columns: Sequence[str]) -> list[str]:
    return [escape_controls(column) for column in columns]


def _shown(cell: Any) -> Any:
    """Return a cell whose text is safe to print; numbers and estimates are left as they are."""
    if isinstance(cell, Marked):
        return Marked(escape_controls(cell.text), cell.mark)
    return escape_controls(cell) if isinstance(cell, str) else cell


def _mark(cell: Any) -> str:
    return cell.mark if isinstance(cell, Marked) else ""


def _on_terminal() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
