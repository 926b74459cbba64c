"""Render a named table, from the paper or from a user's own file, in each of the formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sparsead.config.search import GRID
from sparsead.errors.display import escape_controls, escape_json, one_line
from sparsead.report.claims import Verdict
from sparsead.report.comparisons import RowComparison
from sparsead.report.formats import (
    Marked,
    escape_markdown,
    to_latex,
    to_markdown,
    to_rich,
    write_csv,
)
from sparsead.report.html import render_html
from sparsead.report.interval_notes import describe_difference
from sparsead.report.results import Measured
from sparsead.report.screen import wrap
from sparsead.report.view import View, ViewCell, ViewRow


def render(shown: View, form: str, *, wide: bool = False) -> str:
    """Return a table in the format `form`.

    The same records always give the same bytes, except on a terminal: there the format `rich` shows
    the columns that fit or, if `wide` is set, all of them.
    """
    return _rich(shown, wide=wide) if form == "rich" else TABLE_FORMATS[form](shown)


def _rich(shown: View, *, wide: bool = False) -> str:
    table = shown.results.table
    claims = to_rich(*_claims(shown), _CLAIMS_ORDER, wide=wide) if shown.verdicts else ""
    notes = "".join(f"{line}\n" for note in shown.notes for line in wrap(escape_controls(note)))
    columns, rows = _rows(shown)
    order = ["method", "backbone", table.average_label, *columns[3:], "#param"]
    text = to_rich(columns, rows, order, wide=wide)
    return f"{escape_controls(table.title)}\n{text}{notes}{claims}"


def _markdown(shown: View) -> str:
    claims = "\n" + to_markdown(*_claims(shown)) if shown.verdicts else ""
    notes = "".join(f"\n{escape_markdown(note)}\n" for note in shown.notes)
    return f"{to_markdown(*_rows(shown))}{notes}{claims}"


def _latex(shown: View) -> str:
    """Return a LaTeX table, preceded by the notes and claims as comments."""
    heads, claims = _claims(shown)
    lines = [": ".join(str(claim[head]) for head in heads) for claim in claims]
    comments = [one_line(line) for line in (*shown.notes, *lines)]
    table = to_latex(*_rows(shown), shown.results.table.title)
    return "".join(f"% {comment}\n" for comment in comments) + table


def _csv(shown: View) -> str:
    """Return one line for each cell, with its scores, comparison and published number."""
    return write_csv(cell_lines(shown))


def cell_lines(shown: View) -> list[dict[str, Any]]:
    """Return one line for each cell of a table, all with the same keys; scores are in percent."""
    return [_cell_line(row, cell) for row in shown.rows for cell in row.cells]


def _json(shown: View) -> str:
    table = shown.results.table
    content = {
        "name": table.name,
        "title": table.title,
        "seeds": table.seeds,
        "cells": cell_lines(shown),
        "comparisons": [_comparison_line(each) for each in shown.compared],
        "claims": [_claim_line(verdict) for verdict in shown.verdicts],
        "notes": shown.notes,
    }
    return escape_json(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


TABLE_FORMATS: dict[str, Callable[[View], str]] = {
    "rich": _rich,
    "md": _markdown,
    "latex": _latex,
    "csv": _csv,
    "json": _json,
    "html": render_html,
}


def _rows(shown: View) -> tuple[list[str], list[dict[str, Any]]]:
    rows = [_line(shown, row) for row in shown.rows]
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if any(row.get(name) not in (None, "") for row in rows)], rows


def _line(shown: View, row: ViewRow) -> dict[str, Any]:
    theirs = (f"paper {row.paper_params_text}",) if row.paper_params_text else ()
    return {
        "backbone": row.backbone,
        "method": row.row.label,
        "#param": Marked(row.params_text or "–", below=theirs),
    } | {shown.label(cell.column): _stack(shown, cell) for cell in row.cells}


def _stack(shown: View, cell: ViewCell) -> Marked:
    """Return a cell with the paper's number below ours, and then the comparisons.

    The row that it is compared with is named in a table without a dense row for all others.
    """
    below = [] if cell.paper is None else [f"paper {cell.paper_text}"]
    for compared in cell.compared:
        if shown.results.table.baseline is None:
            below.append(f"from {shown.results.label(compared.baseline)}:")
        below += _describe(compared, len(cell.measured.scores))
    return Marked(str(cell.measured), cell.mark, tuple(below))


def _describe(compared: RowComparison, seeds: int) -> list[str]:
    """Return the lines of a comparison below a mean over so many seeds."""
    difference, _, interval = describe_difference(compared).partition(" ")
    n = compared.comparison.n
    few = f" (n={n})" if n < seeds else ""
    crossed = compared.p_crossed_holm
    return [
        f"{difference}{few}, p {compared.p_holm:.3g}",
        *([interval] if interval else []),
        *([] if crossed is None else [f"p crossed {crossed:.3g}"]),
    ]


_CLAIMS_ORDER = ("claim", "verdict", "backbone", "measured", "p for / against")


def _claims(shown: View) -> tuple[list[str], list[dict[str, Any]]]:
    rows = [
        {
            "claim": verdict.text,
            "backbone": verdict.backbone,
            "verdict": ", ".join(filter(None, (verdict.verdict, verdict.reason))),
            "p for / against": verdict.p_values if verdict.n else None,
            "measured": ";\n".join(map(str, verdict.parts)),
        }
        for verdict in shown.verdicts
    ]
    return ["claim", "backbone", "verdict", "p for / against", "measured"], rows


def _cell_line(row: ViewRow, cell: ViewCell) -> dict[str, Any]:
    measured, estimate = cell.measured, cell.measured.estimate
    return {
        "backbone": row.backbone,
        "row": row.row.name,
        "label": row.row.label,
        "column": cell.column,
        "params": row.params_text,
        "mean": None if estimate is None else estimate.mean,
        "sd": None if estimate is None else estimate.sd,
        "n": len(measured.scores),
        "asked": measured.asked,
        "failed": len(measured.failed),
        "collapsed": len(measured.collapsed),
        **_point(measured),
        "paper": cell.paper,
        **_first_difference(cell.compared),
        "mark": cell.mark,
    }


def _point(measured: Measured) -> dict[str, Any]:
    """Return the chosen point of a searched cell; nothing without a search."""
    if measured.choice is None:
        return {}
    point = measured.choice.point
    return dict.fromkeys(GRID) if point is None else point._asdict()


def _first_difference(compared: Sequence[RowComparison]) -> dict[str, Any]:
    """Return the first comparison of a cell as values, and the row that it is compared with."""
    if not compared:
        return dict.fromkeys(("baseline", *_DIFFERENCE))
    return {"baseline": compared[0].baseline} | _difference(compared[0])


def _difference(compared: RowComparison) -> dict[str, Any]:
    """Return a comparison as values; `crossed` ones count seeds and examples, others seeds."""
    comparison, crossed = compared.comparison, compared.comparison.crossed
    intervals = comparison.interval, None if crossed is None else crossed.interval
    ends = [end for interval in intervals for end in interval or (None, None)]
    p_crossed = None if crossed is None else crossed.p
    tests = [comparison.p, compared.p_holm, p_crossed, compared.p_crossed_holm]
    return dict(zip(_DIFFERENCE, [comparison.difference, *ends, *tests], strict=True))


_DIFFERENCE = (
    *("difference", "low", "high", "low_crossed", "high_crossed"),
    *("p", "p_holm", "p_crossed", "p_crossed_holm"),
)


def _comparison_line(compared: RowComparison) -> dict[str, Any]:
    where = compared.place._asdict() | {"baseline": compared.baseline, "n": compared.comparison.n}
    return where | _difference(compared)


def _claim_line(verdict: Verdict) -> dict[str, Any]:
    return {
        "text": verdict.text,
        "kind": verdict.kind,
        "backbone": verdict.backbone,
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "n": verdict.n,
        "p_holds": verdict.p_holds,
        "p_fails": verdict.p_fails,
        "p_holds_holm": verdict.p_holds_holm,
        "p_fails_holm": verdict.p_fails_holm,
        "parts": [vars(part) for part in verdict.parts],
    }
