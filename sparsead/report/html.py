"""A table as one self-contained HTML report, with its claims, figures, runs and configurations."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from sparsead.config.seeds import Seeds
from sparsead.errors.display import escape_controls, pluralize
from sparsead.report.histories import REACHED
from sparsead.report.plots import draw
from sparsead.report.results import Results
from sparsead.report.settings import NOT_DECISIVE
from sparsead.report.signed import format_score, format_signed
from sparsead.report.style import encode_figure
from sparsead.report.view import View
from sparsead.runs.listing import flatten
from sparsead.runs.record import RunRecord

_PEAK = "peak_memory_bytes"
_FIGURES = {
    "score_by_parameters": "Score and trained parameters",
    "score_by_sparsity": "Score against sparsity",
    "score_by_training": "Score against the share of training; ★ where a row has made "
    f"{REACHED:.0%} of its rise from its first to its final score",
    "score_by_weights": "Score and trained weights; the line joins the best of as few weights",
}
"""The caption of each kind of figure that a table's `options` may ask for."""


class _Figure(NamedTuple):
    caption: str
    svg: str


class _Configuration(NamedTuple):
    row: str
    place: str
    yaml: str


class _Run(NamedTuple):
    row: str
    column: str
    backbone: str
    seed: str
    score: str
    folder: str
    link: str


def render_html(shown: View, folder: Path | None = None) -> str:
    """Return the HTML report.

    Names are escaped, with control characters made visible, and figures are embedded as images, so
    that neither can run a script.

    Args:
        shown: the table.
        folder: where the report will be; its links then hold after outputs have been moved. None
            links to where the runs are now.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sparsead.report", "templates"),
        autoescape=True,
        finalize=_without_controls,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    results = shown.results
    return environment.get_template("report.html.j2").render(
        shown=shown,
        format_signed=format_signed,
        pluralize=pluralize,
        table=results.table,
        tested=set(results.tested) if shown.compared else set(),
        figures=list(_figures(results)),
        configurations=list(_configurations(results)),
        runs=list(_runs(results, folder)),
        finished=len(results.every_run()),
        environments=_environments(results),
    )


def _without_controls(value: Any) -> Any:
    return escape_controls(value) if type(value) is str else value


def _figures(results: Results) -> Iterator[_Figure]:
    asked = results.table.options.get("kind")
    kinds = [asked] if asked else ["score_by_parameters", "score_by_training"]
    if not asked and any(row.series for row in results.table.rows):
        kinds.append("score_by_sparsity")
    for kind in kinds:
        figure = draw(results, kind)
        if figure is not None:
            svg = b64encode(encode_figure(figure, ".svg")).decode("ascii")
            yield _Figure(_FIGURES[kind], f"data:image/svg+xml;base64,{svg}")


def _configurations(results: Results) -> Iterator[_Configuration]:
    """Yield the resolved configuration of each cell, taken from the first of its runs."""
    from omegaconf import OmegaConf

    for place, measured in results.places.items():
        for record in list(measured.records.values())[:1]:
            config = {k: v for k, v in record.result["config"].items() if k not in NOT_DECISIVE}
            where = f"{place.column}, {place.backbone}"
            yield _Configuration(results.label(place.row), where, OmegaConf.to_yaml(config))


def _runs(results: Results, folder: Path | None) -> Iterator[_Run]:
    for place, measured in results.places.items():
        for seed, record in measured.records.items():
            score = measured.scores.get(seed)
            yield _Run(
                results.label(place.row),
                place.column,
                place.backbone,
                _seed_of(record),
                "not finite" if score is None else format_score(score),
                record.folder.name,
                _link(record.folder.resolve(), folder),
            )


def _seed_of(record: RunRecord) -> str:
    """Return a run's seed, or the seeds of its parts, such as 1-2-3, where they differ."""
    return str(Seeds.read(record.result["config"]))


def _link(run: Path, folder: Path | None) -> str:
    return run.as_uri() if folder is None else quote(os.path.relpath(run, folder.resolve()))


def _environments(results: Results) -> list[dict[str, Any]]:
    """Return the distinct environments of the runs, each with its number of runs.

    The peak memory is measured and differs between any two runs: it is given as a range.
    """
    found: dict[str, dict[str, Any]] = {}
    for record in results.every_run():
        environment = flatten(record.result.get("environment", {}), " ")
        peak = environment.pop(_PEAK, None)
        known = found.setdefault(
            repr(environment), {"environment": environment, "runs": 0, "peaks": []}
        )
        known["runs"] += 1
        known["peaks"] += [] if peak is None else [peak]
    for known in found.values():
        peaks = known.pop("peaks")
        known["environment"] |= {"peak memory": _megabytes(peaks)} if peaks else {}
    return list(found.values())


def _megabytes(peaks: list[int]) -> str:
    ends = sorted({round(end / 1e6) for end in (min(peaks), max(peaks))})
    return f"{' to '.join(map(str, ends))} MB"
