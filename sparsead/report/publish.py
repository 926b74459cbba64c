"""Write a table's files: its HTML report, and its figure if the table defines one."""

from __future__ import annotations

from pathlib import Path

from sparsead.report.html import render_html
from sparsead.report.plots import draw
from sparsead.report.results import Results
from sparsead.report.style import SUFFIXES, save
from sparsead.report.view import View
from sparsead.runs.files import write_result_file

DEFAULT_KIND = "score_by_parameters"


def publish(shown: View, outputs: Path) -> list[Path]:
    """Write the HTML report, and the figure if the table defines one, below `outputs`.

    Raises:
        RecordError: a file cannot be written.
    """
    name = shown.results.table.name
    report = outputs / "reports" / f"{name}.html"
    write_result_file(report, render_html(shown, report.parent))
    is_figure = "kind" in shown.results.table.options
    return [report, *(save_figure(shown.results, outputs / "figures") if is_figure else ())]


def save_figure(results: Results, folder: Path) -> list[Path]:
    """Draw a table's figure as PNG and SVG, and return the files; none if there are no scores.

    Raises:
        RecordError: a file cannot be written.
    """
    figure = draw(results, results.table.options.get("kind", DEFAULT_KIND))
    paths = [folder / f"{results.table.name}{suffix}" for suffix in SUFFIXES]
    if figure is None:
        return []
    for path in paths:
        save(figure, path)
    return paths
