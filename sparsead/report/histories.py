"""Learning curves: a metric over the course of training, and the speed of a row.

The speed of a row is measured on its own curve: by the share of training after which it has made
`REACHED` of its rise, the difference between its final and its first score. Shifting or scaling a
curve does not change that share, so that a row that is better throughout does not seem faster. With
`protocol.evaluations` the first score is that before training, otherwise that of the first epoch.

A share of training is one of the planned training, also for a run that early stopping ended before.
Its final score is that of the epoch whose weights it kept.

A run that holds out a part of train is scored on that part during training, and on the split of the
table's scores only after it. What is said of its curves names the part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from sparsead.config.protocol import ProtocolSpec
from sparsead.report.results import Results
from sparsead.report.statistics import Scores, average
from sparsead.runs.record import RunRecord


@dataclass(frozen=True)
class Curve:
    """A learning curve in percent.

    Attributes:
        scores: the score by the share of the planned training that was done (0 to 1, ascending).
        final: the score of the weights that were kept.
    """

    scores: Mapping[float, float]
    final: float


REACHED = 0.9
"""The share of the rise from the first to the final score at which speeds are compared."""

_DIGITS = 6
_ROUNDING = 1e-9  # in points: rounding errors must not decide at which evaluation it is reached


def read_curve(record: RunRecord, metric: str) -> Curve | None:
    """Return a run's learning curve without scores that are not finite; None if none is left."""
    history = [entry for entry in record.result.get("history", ()) if "scores" in entry]
    last = max((entry["epoch"] for entry in history), default=1.0) or 1.0
    planned = _plan_epochs(record) or last
    found = {entry["epoch"]: entry["scores"].get(metric) for entry in history}
    by_epoch = {epoch: 100 * score for epoch, score in found.items() if score is not None}
    if not by_epoch:
        return None
    kept = record.result.get("best_epoch", last)
    final = by_epoch.get(kept, by_epoch[max(by_epoch)])
    return Curve({round(e / planned, _DIGITS): score for e, score in by_epoch.items()}, final)


def _plan_epochs(record: RunRecord) -> float | None:
    """Return the planned epochs of a run that early stopping may have ended before; None of others.

    Without early stopping, the last recorded evaluation is at the end of the planned training.
    """
    protocol = record.result["config"]["protocol"]
    if protocol.get("patience") is None:
        return None
    examples = record.result.get("data", {}).get("train", {}).get("examples")
    if protocol.get("max_steps") is None or examples is None:
        return float(protocol["epochs"])
    return ProtocolSpec(**protocol).planned_epochs(examples)


def read_curves(results: Results, backbone: str, row: str, column: str) -> dict[int, Curve]:
    """Return the learning curve of each seed of a cell.

    Runs without a history are left out, and so are those that repeat another seed.
    """
    metric = next(c.metric for c in results.table.columns if c.name == column)
    cell = results.at(backbone, row, column)
    found = {
        seed: read_curve(record, metric)
        for seed, record in cell.records.items()
        if seed not in cell.repeated
    }
    return {seed: curve for seed, curve in found.items() if curve is not None}


def average_curves(curves: Sequence[Curve]) -> Curve | None:
    """Return the mean learning curve, at the shares of training that all of them have recorded."""
    shared = set.intersection(*(set(curve.scores) for curve in curves)) if curves else set()
    if not shared:
        return None
    means = {share: fmean(curve.scores[share] for curve in curves) for share in sorted(shared)}
    return Curve(means, fmean(curve.final for curve in curves))


def locate_rise(curve: Curve, share: float = REACHED, direction: int = 1) -> float | None:
    """Return the share of the planned training after which a curve has made `share` of its rise.

    The rise is the difference between the final and the first score. None if the final score is not
    better than the first, or if the curve reaches its share at no evaluation, as a mean of runs of
    which some stopped early may.

    Args:
        curve: the curve, of at least one score.
        share: share of the rise, above 0 and at most 1.
        direction: 1 if a higher score is better, −1 if a lower one is.
    """
    scores = {at: direction * score for at, score in curve.scores.items()}
    first, final = next(iter(scores.values())), direction * curve.final
    if final <= first:
        return None
    least = share * (final - first) - _ROUNDING
    return next((at for at, score in scores.items() if score - first >= least), None)


def find_reached(curve: Curve, share: float = REACHED, direction: int = 1) -> float:
    """Return the time of `locate_rise`, by which the speeds of curves are compared.

    A curve without such a time counts as reaching every share at the end of the plan, whenever the
    training ended.
    """
    located = locate_rise(curve, share, direction)
    return 1.0 if located is None else located


def measure_savings(
    results: Results, backbone: str, row: str, than: str, share: float = REACHED
) -> dict[int, float]:
    """Return, for each seed, how much earlier `row` completes `share` of its rise than `than` does.

    That is a difference of fractions of the training, averaged over the columns: each row has its
    own rise, and completes `share` of it after some fraction of the training.
    """
    columns = scored_columns(results, backbone, row, than)
    return average([_saved(results, backbone, row, than, column, share) for column in columns])


def measure_advantages(results: Results, backbone: str, row: str, than: str) -> dict[int, float]:
    """Return, for each seed, by how many points `row` is better than `than` during training.

    It is the mean over the shares of training at which both were evaluated, averaged over columns.
    """
    columns = scored_columns(results, backbone, row, than)
    return average([_advantage(results, backbone, row, than, column) for column in columns])


def scored_columns(results: Results, backbone: str, *rows: str) -> list[str]:
    """Return the columns in which runs of these rows are scored during training.

    Texts are generated only after it.
    """
    names = [column.name for column in results.table.columns]
    return [n for n in names if any(read_curves(results, backbone, row, n) for row in rows)]


def describe_scored(
    results: Results, backbone: str, columns: Sequence[str], rows: Sequence[str]
) -> str:
    """Say on what the curves of these rows are scored, if it is not what the columns are of."""
    found = {
        results.at(backbone, row, column).records[seed].holds_out
        for row in rows
        for column in columns
        for seed in read_curves(results, backbone, row, column)
    }
    if True not in found:
        return ""
    part = "on the held-out part of train"
    return part if False not in found else f"in part {part}"


def _saved(
    results: Results, backbone: str, row: str, than: str, column: str, share: float
) -> Scores:
    ours, theirs = (read_curves(results, backbone, name, column) for name in (row, than))
    direction = results.direction(column)
    return {
        seed: find_reached(theirs[seed], share, direction)
        - find_reached(ours[seed], share, direction)
        for seed in ours.keys() & theirs.keys()
    }


def _advantage(results: Results, backbone: str, row: str, than: str, column: str) -> Scores:
    ours, theirs = (read_curves(results, backbone, name, column) for name in (row, than))
    direction = results.direction(column)
    found: dict[int, float] = {}
    for seed in ours.keys() & theirs.keys():
        one, other = ours[seed].scores, theirs[seed].scores
        differences = [direction * (one[at] - other[at]) for at in one if at in other]
        found |= {seed: fmean(differences)} if differences else {}
    return found
