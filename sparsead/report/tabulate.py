"""Render a named table, from the paper or from a user's own file, in each of the formats."""

from __future__ import annotations

import json
from collections.abc import Callable
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
from sparsead.report.view import View, ViewCell, ViewRow


def render(shown: View, form: str) -> str:
    """Return a table in the format `form`; the same records always give the same bytes."""
    return TABLE_FORMATS[form](shown)


def _rich(shown: View) -> str:
    table = shown.results.table
    claims = to_rich(*_claims(shown)) if shown.verdicts else ""
    notes = "".join(f"{escape_controls(note)}\n" for note in shown.notes)
    return f"{escape_controls(table.title)}\n{to_rich(*_rows(shown))}{notes}{claims}"


def _markdown(shown: View) -> str:
    claims = "\n" + to_markdown(*_claims(shown)) if shown.verdicts else ""
    notes = "".join(f"\n{escape_markdown(note)}\n" for note in shown.notes)
    return f"{to_markdown(*_rows(shown))}{notes}{claims}"


def _latex(shown: View) -> str:
    """Return a LaTeX tabular, preceded by the notes and claims as comments."""
    heads, claims = _claims(shown)
    lines = [": ".join(str(claim[head]) for head in heads) for claim in claims]
    comments = [one_line(line) for line in (*shown.notes, *lines)]
    return "".join(f"% {comment}\n" for comment in comments) + to_latex(*_rows(shown))


def _csv(shown: View) -> str:
    """Return one line for each cell, with its scores, comparison and published number."""
    return write_csv([_cell_line(row, cell) for row in shown.rows for cell in row.cells])


def _json(shown: View) -> str:
    table = shown.results.table
    content = {
        "name": table.name,
        "title": table.title,
        "seeds": table.seeds,
        "cells": [_cell_line(row, cell) for row in shown.rows for cell in row.cells],
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
    line: dict[str, Any] = {
        "backbone": row.backbone,
        "method": row.row.label,
        "#param": row.params_text,
        "#param paper": row.paper_params_text,
    }
    for cell in row.cells:
        label, text = shown.label(cell.column), str(cell.measured)
        line[label] = text if cell.mark is None else Marked(text, cell.mark)
        line[f"{label} paper"] = None if cell.paper is None else f"{cell.paper:.1f}"
        compared = cell.compared
        line[f"{label} difference"] = None if compared is None else describe_difference(compared)
        line[f"{label} p"] = None if compared is None else f"{compared.p_holm:.3g}"
        p_crossed = None if compared is None else compared.p_crossed_holm
        line[f"{label} p crossed"] = None if p_crossed is None else f"{p_crossed:.3g}"
    return line


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
        **_difference(cell.compared),
        "mark": cell.mark,
    }


def _point(measured: Measured) -> dict[str, Any]:
    """Return the chosen point of a searched cell; nothing without a search."""
    if measured.choice is None:
        return {}
    point = measured.choice.point
    return dict.fromkeys(GRID) if point is None else point._asdict()


def _difference(compared: RowComparison | None) -> dict[str, Any]:
    """Return a comparison as values; `crossed` ones count seeds and examples, others seeds."""
    if compared is None:
        return dict.fromkeys(_DIFFERENCE)
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
