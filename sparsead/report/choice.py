"""Choose the best point of a grid among runs that differ only in the grid's three keys."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from sparsead.config.search import GRID
from sparsead.config.seeds import Seeds
from sparsead.errors.display import pluralize
from sparsead.report.settings import NOT_DECISIVE
from sparsead.runs.defaults import leave_out_defaults
from sparsead.runs.identity import UNDECISIVE_KEYS
from sparsead.runs.record import RunRecord
from sparsead.runs.result import NAMED_GROUPS
from sparsead.tables.choice import compute_quality


def choose_best_points(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the runs of the best point of every grid.

    A point consists of the runs of one setting over all its seeds, and is judged by their mean
    score. That is the score on the selection split if the protocol holds one out, so that the
    validation split does not influence the choice; otherwise it is the validation score. Of equal
    points the one with the lowest rate is chosen, then that with the fewest epochs, then that with
    the smallest batches.

    Points are compared on the seeds that all of them have. A point that lacks too many seeds of the
    others is left out: a single lucky seed would win.
    """
    return [run for grid in _grids(records) for run in _choose(_compare(grid))]


def count_points(records: Iterable[RunRecord]) -> dict[str, int]:
    """Return by setting how many points of its grid are compared; 1 where none could be chosen."""
    compared = [_compare(grid).points for grid in _grids(records)]
    return {_setting(point[0]): len(points) for points in compared for point in points}


def describe_left_out(records: Iterable[RunRecord]) -> list[str]:
    """Return a text for each grid with points that are not compared; it names them."""
    texts = []
    for grid in _grids(records):
        points = _compare(grid).points
        left_out = [point for point in sorted(grid, key=_point) if point not in points]
        if left_out:
            config = left_out[0][0].result["config"]
            names = ", ".join(config[group]["name"] for group in NAMED_GROUPS)
            said = "; ".join(_describe_point(point) for point in left_out)
            texts.append(
                f"{names}, sparsity {config['sparsity']:g}: chosen among "
                f"{pluralize(len(points), 'point')}, without those that have too few seeds in "
                f"common with them: {said}"
            )
    return texts


class _Compared(NamedTuple):
    """The points of a grid that are compared, and on which seeds; None for all that each has."""

    points: list[list[RunRecord]]
    seeds: Set[Seeds | None] | None


def _compare(grid: Sequence[list[RunRecord]]) -> _Compared:
    """Choose the points of a grid that are compared, and the seeds on which they are.

    The points with the fewest seeds are left out until all others share more than half as many
    seeds as the largest point has. If they never do, the points with the most seeds are compared,
    each on its own seeds.
    """
    seeds = [frozenset(map(_seeds, point)) for point in grid]
    most = max(map(len, seeds))
    for fewest in range(most // 2 + 1, most + 1):
        points = [point for point, own in zip(grid, seeds, strict=True) if len(own) >= fewest]
        shared = frozenset.intersection(*(own for own in seeds if len(own) >= fewest))
        if 2 * len(shared) > most:
            return _Compared(points, shared)
    return _Compared(points, None)


def _choose(compared: _Compared) -> list[RunRecord]:
    def judge(point: Sequence[RunRecord]) -> float:
        shared = compared.seeds
        return compute_quality([run for run in point if shared is None or _seeds(run) in shared])

    return max(sorted(compared.points, key=_point), key=judge)


def _seeds(record: RunRecord) -> Seeds | None:
    config = record.result.get("config", {})
    return Seeds.read(config) if "seed" in config else None


def _describe_point(point: Sequence[RunRecord]) -> str:
    protocol = point[0].result["config"]["protocol"]
    seeds = sorted({str(_seeds(run)) for run in point})
    values = " ".join(f"{key}={protocol[key]:g}" for key in GRID if key in protocol)
    return f"{values} (seed {', '.join(seeds)})"


def _grids(records: Iterable[RunRecord]) -> list[list[list[RunRecord]]]:
    """Return the records by grid and, within a grid, by point."""
    points: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        points[_setting(record)].append(record)
    alike: dict[str, list[list[RunRecord]]] = defaultdict(list)
    for point in points.values():
        alike[_grid(point[0].result)].append(point)
    return [grid for found in alike.values() for grid in _split_by_data(found)]


def _split_by_data(points: Sequence[list[RunRecord]]) -> list[list[list[RunRecord]]]:
    """Return the points by the content of their data.

    A file may have been changed under the same path. Older records do not have the hash of the
    data: they belong to the others if these have one content.
    """
    hashes = [_data_of(point[0].result) for point in points]
    if len({each for each in hashes if each is not None}) < 2:
        return [[*points]]
    grids: dict[str | None, list[list[RunRecord]]] = defaultdict(list)
    for content, point in zip(hashes, points, strict=True):
        grids[content].append(point)
    return [*grids.values()]


def _data_of(result: Mapping[str, Any]) -> str | None:
    """Return the hashes of the splits as a text; None where the record has none."""
    found = {
        split: each["sha256"]
        for split, each in result.get("data", {}).items()
        if isinstance(each, dict) and "sha256" in each
    }
    return json.dumps(found, sort_keys=True) if found else None


def _setting(record: RunRecord) -> str:
    return str(record.result.get("setting", record.folder.name))


def _grid(result: Mapping[str, Any]) -> str:
    """Return a key that all points of one grid share: the configuration without the grid's keys.

    The keys that only say where weights are, or repeat others, do not count: older records lack
    some of them.
    """
    config = leave_out_defaults(result.get("config", {}))
    for group, keys in UNDECISIVE_KEYS.items():
        if group in config and group != "task":  # a task's files are told apart by their paths too
            config[group] = {k: v for k, v in config[group].items() if k not in keys}
    shared = {key: value for key, value in config.items() if key not in NOT_DECISIVE}
    protocol = {k: v for k, v in shared.get("protocol", {}).items() if k not in GRID}
    separate = "seed" in config and Seeds.read(config).shared is None
    return json.dumps(shared | {"protocol": protocol, "separate": separate}, sort_keys=True)


def _point(runs: Sequence[RunRecord]) -> list[float]:
    protocol = runs[0].result.get("config", {}).get("protocol", {})
    values = [protocol.get(key) for key in GRID]
    return [value if isinstance(value, int | float) else 0 for value in values]
