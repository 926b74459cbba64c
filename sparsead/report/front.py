"""Which settings give the most for their trained weights: the Pareto front of score and size."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sparsead.config.seeds import Seeds
from sparsead.errors import warn
from sparsead.errors.display import pluralize
from sparsead.report.evaluated import differ_in_examples
from sparsead.report.results import Results
from sparsead.report.statistics import Estimate, MeanInterval, t_interval
from sparsead.runs.record import RunRecord
from sparsead.runs.trained_weights import count_trained

COLUMNS = (
    *("backbone", "task", "metric", "method", "weights", "share %", "n", "collapsed", "score"),
    *("interval", "front"),
)
RANKED = (
    *("method", "score", "weights", "task", "metric", "backbone", "front", "n", "collapsed"),
    *("interval", "share %"),
)
"""The columns, the most important first, of which a terminal shows as many as fit."""


class Point(NamedTuple):
    """A setting in one backbone and one task.

    `weights` are the trained ones that were not removed, without the head (see `measure_trained`),
    and `share` is their share of the backbone's. `front` tells whether no setting with at most as
    many weights has a better mean score, and none with fewer weights the same one. `collapsed` is
    the number of seeds whose predictions are all the same. `shares_seeds` tells whether runs of the
    setting may have a seed of the data, the initial weights or the mask in common, and are then not
    independent.
    """

    backbone: str
    column: str
    label: str
    weights: int
    share: float
    scores: tuple[float, ...]
    front: bool = False
    collapsed: int = 0
    shares_seeds: bool = False

    @property
    def estimate(self) -> Estimate:
        """Mean and standard deviation over seeds, in percent."""
        return Estimate.of(self.scores)


def find_points(results: Results, backbone: str, column: str) -> list[Point]:
    """Return the settings that have scores, those with the fewest weights first.

    Where settings were evaluated on different examples, a warning says so.
    """
    found: list[Point] = []
    first: RunRecord | None = None
    for row in results.table.rows:
        measured = results.at(backbone, row.name, column)
        if not measured.scores:
            if measured.records:
                warn(f"{row.label} in {column}: its scores are not defined; it is left out")
            continue
        record = next(iter(measured.records.values()))
        counts = record.result["parameters"]
        if "backbone" not in counts:
            warn(f"{record.folder}: does not count its backbone's parameters; it is left out")
            continue
        first = first or record
        if differ_in_examples(first, record):
            warn(
                f"{column}: {row.label} was evaluated on other examples than another setting, so "
                "that the front compares different data; choose the runs of one data set"
            )
        share, scores = measure_trained(record), tuple(measured.scores.values())
        weights = round(share * counts["backbone"])
        point = Point(backbone, column, row.label, weights, share, scores)
        collapsed, shares = len(measured.collapsed), _share_seeds(measured.records.values())
        found.append(point._replace(collapsed=collapsed, shares_seeds=shares))
    found.sort(key=lambda point: point.weights)
    return mark_front(found, results.direction(column))


def measure_trained(record: RunRecord) -> float:
    """Return how many weights a run trained besides the head, as a share of its backbone's.

    `nominal`, the paper's #param, is the same share, except where a part of the adapter is frozen:
    it counts adapters of other runs that are combined here. Records that lack a count have that
    alone.
    """
    counts, trained = record.result["parameters"], count_trained(record.result)
    if trained is None or "backbone" not in counts:
        return float(counts["nominal"])
    return float(trained / counts["backbone"])


def list_rows(results: Results) -> list[dict[str, Any]]:
    """Return a line for each setting of each backbone and column, those on the front marked.

    `metric` is the main one of the setting's runs, of which `score` is the mean. `interval` is the
    95 % t interval of that mean over the seeds. Runs with separate seeds for their parts have none,
    because they are not independent.
    """
    columns = {column.name: column for column in results.table.columns}
    return [
        {
            "backbone": point.backbone,
            "task": columns[point.column].task,
            "metric": columns[point.column].metric,
            "method": point.label,
            "weights": point.weights,
            "share %": round(100 * point.share, 3),
            "n": len(point.scores),
            "collapsed": point.collapsed or None,
            "score": point.estimate,
            "interval": _interval(point),
            "front": "yes" if point.front else None,
        }
        for backbone in results.table.backbones
        for column in columns
        for point in find_points(results, backbone, column)
    ]


def describe_single_runs(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return how many settings on the front have one run alone; None if each has several.

    Among many single runs the best one is so in part by chance, and no interval says how much.

    Args:
        rows: the lines of `list_rows`.
    """
    front = [row for row in rows if row["front"]]
    single = sum(row["n"] == 1 for row in front)
    if not single:
        return None
    return (
        f"with one seed and no interval: {single} of {pluralize(len(front), 'setting')} on the "
        "front; the best of many single runs is there in part by chance"
    )


def mark_front(points: Sequence[Point], direction: int) -> list[Point]:
    """Mark the points that no other one beats with as few weights."""
    means = [direction * point.estimate.mean for point in points]

    def beaten(one: int) -> Iterator[bool]:
        for other, point in enumerate(points):
            fewer, better = point.weights - points[one].weights, means[other] - means[one]
            yield fewer <= 0 and better >= 0 and (fewer < 0 or better > 0)

    return [point._replace(front=not any(beaten(n))) for n, point in enumerate(points)]


def describe_shared_seeds(results: Results) -> str | None:
    """Return how many settings have no interval for their separate seeds; None if all have one."""
    number = sum(_share_seeds(cell.records.values()) for cell in results.places.values())
    if not number:
        return None
    return (
        f"{pluralize(number, 'setting')}: no interval, because the runs have separate seeds for "
        "data, initial weights and mask (seed_data, seed_init, seed_mask), so that they may share "
        "some and are not independent"
    )


def _share_seeds(records: Collection[RunRecord]) -> bool:
    seeds = [Seeds.read(record.result["config"]) for record in records]
    return len(seeds) > 1 and any(each.shared is None for each in seeds)


def _interval(point: Point) -> MeanInterval:
    known = None if point.shares_seeds else t_interval(point.scores)
    return MeanInterval(*(known or (None, None)))
