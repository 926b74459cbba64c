"""Learning curves: a metric over the course of training, and when it first reaches a score."""

from __future__ import annotations

from collections.abc import Mapping

from sparsead.report.results import Results
from sparsead.report.statistics import Scores, average
from sparsead.runs.record import RunRecord

Curve = Mapping[float, float]
"""A learning curve: share of training done (0 to 1, ascending) → score in percent."""


def read_curve(record: RunRecord, metric: str) -> Curve:
    """Return a run's learning curve; scores that are not finite are left out."""
    history = [entry for entry in record.result.get("history", ()) if "scores" in entry]
    last = max((entry["epoch"] for entry in history), default=1.0)
    scores = {entry["epoch"] / last: entry["scores"].get(metric) for entry in history}
    return {share: 100 * score for share, score in scores.items() if score is not None}


def read_curves(results: Results, backbone: str, row: str, column: str) -> dict[int, Curve]:
    """Return the learning curve of each seed of a cell; runs without a history are left out."""
    metric = next(c.metric for c in results.table.columns if c.name == column)
    records = results.at(backbone, row, column).records
    found = {seed: read_curve(record, metric) for seed, record in records.items()}
    return {seed: points for seed, points in found.items() if points}


def find_reached(points: Curve, score: float) -> float | None:
    """Return the share of training after which a score is first reached, or None if it never is."""
    return next((share for share, value in points.items() if value >= score), None)


def measure_savings(results: Results, backbone: str, row: str, than: str) -> dict[int, float]:
    """Return, for each seed, how much training `row` saves to reach the best score of `than`.

    It is the share of training after which `than` reaches its own best score, minus the share after
    which `row`, in the run of the same seed, reaches that score; averaged over the columns. A row
    that never reaches the score counts as reaching it at the end of training.
    """
    return average([_saved(results, backbone, row, than, c.name) for c in results.table.columns])


def _saved(results: Results, backbone: str, row: str, than: str, column: str) -> Scores:
    ours, theirs = (read_curves(results, backbone, name, column) for name in (row, than))
    return {seed: _earlier(ours[seed], theirs[seed]) for seed in ours.keys() & theirs.keys()}


def _earlier(ours: Curve, theirs: Curve) -> float:
    best = max(theirs.values())
    theirs_at, ours_at = find_reached(theirs, best), find_reached(ours, best)
    assert theirs_at is not None  # a curve reaches its own best
    return theirs_at - (1.0 if ours_at is None else ours_at)
