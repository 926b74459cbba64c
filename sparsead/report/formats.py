"""Writing a table: for the terminal, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sparsead.report.statistics import Estimate

Rows = Sequence[Mapping[str, Any]]
Format = Callable[[Sequence[str], Rows], str]

_UNBOUNDED = 1000
_LATEX_SPECIAL = {"%": r"\%", "#": r"\#", "_": r"\_", "&": r"\&", "±": r"$\pm$"}


def rich_table(columns: Sequence[str], rows: Rows) -> str:
    """Return a table for the terminal, as wide as it needs to be."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*_cells(columns, row))
    Console(file=(text := io.StringIO()), width=_UNBOUNDED).print(table)
    return text.getvalue()


def markdown(columns: Sequence[str], rows: Rows) -> str:
    """Return a Markdown table."""
    head, *body = _lines(columns, rows)
    lines = [head, ["---"] * len(columns), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def latex(columns: Sequence[str], rows: Rows) -> str:
    """Return a LaTeX tabular with booktabs rules."""
    lines = [" & ".join(map(_escape, line)) + r" \\" for line in _lines(columns, rows)]
    head, *body = lines
    rules = [rf"\begin{{tabular}}{{{'l' * len(columns)}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*rules, *body, r"\bottomrule", r"\end{tabular}", ""])


def comma_separated(_columns: Sequence[str], rows: Rows) -> str:
    """Return the table as CSV with a header; an estimate makes two columns."""
    plain = [_plain(row) for row in rows]
    names = list(dict.fromkeys(name for row in plain for name in row))
    writer = csv.DictWriter(text := io.StringIO(), names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    return text.getvalue()


def json_rows(_columns: Sequence[str], rows: Rows) -> str:
    """Return the rows as a JSON list of objects; an estimate makes two keys."""
    return json.dumps([_plain(row) for row in rows], indent=2) + "\n"


FORMATS: dict[str, Format] = {
    "rich": rich_table,
    "md": markdown,
    "latex": latex,
    "csv": comma_separated,
    "json": json_rows,
}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Estimate):
            plain |= {name: value.mean, f"{name}_sd": value.sd}
        else:
            plain[name] = value
    return plain


def _lines(columns: Sequence[str], rows: Rows) -> list[list[str]]:
    return [list(columns), *(_cells(columns, row) for row in rows)]


def _cells(columns: Sequence[str], row: Mapping[str, Any]) -> list[str]:
    return ["" if row.get(column) is None else str(row[column]) for column in columns]


def _escape(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)
