"""Choose the best point of a grid among runs that differ only in the grid's three keys."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparsead.config.search import GRID
from sparsead.config.seeds import Seeds
from sparsead.report.settings import NOT_DECISIVE
from sparsead.runs.defaults import leave_out_defaults
from sparsead.runs.record import RunRecord
from sparsead.tables.choice import compute_quality


def choose_best_points(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the runs of the best point of every grid.

    A point consists of the runs of one setting over all its seeds, and is judged by their mean
    score. That is the score on the selection split if the protocol holds one out, so that the
    validation split does not influence the choice; otherwise it is the validation score. Of equal
    points the one with the lowest rate is chosen, then that with the fewest epochs, then that with
    the smallest batches. Points with fewer runs than others of their grid are left out: a single
    lucky seed would win.
    """
    return [r for grid in _grids(records) for r in _choose(grid)]


def count_points(records: Iterable[RunRecord]) -> dict[str, int]:
    """Return by setting the number of points of its grid; 1 where nothing could be chosen."""
    return {_setting(point[0]): len(grid) for grid in _grids(records) for point in grid}


def _choose(grid: Sequence[list[RunRecord]]) -> list[RunRecord]:
    most = max(map(len, grid))
    whole = [point for point in grid if len(point) == most]
    return max(sorted(whole, key=_point), key=compute_quality)


def _grids(records: Iterable[RunRecord]) -> list[list[list[RunRecord]]]:
    """Return the records by grid and, within a grid, by point."""
    points: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        points[_setting(record)].append(record)
    grids: dict[str, list[list[RunRecord]]] = defaultdict(list)
    for point in points.values():
        grids[_grid(point[0].result)].append(point)
    return list(grids.values())


def _setting(record: RunRecord) -> str:
    return str(record.result.get("setting", record.folder.name))


def _grid(result: Mapping[str, Any]) -> str:
    """Return a key that all points of one grid share: the configuration without the grid's keys.

    The content of the data belongs to it: a file may have been changed under the same path.
    """
    config = leave_out_defaults(result.get("config", {}))
    data = {
        split: each["sha256"]
        for split, each in result.get("data", {}).items()
        if isinstance(each, dict) and "sha256" in each
    }
    shared = {key: value for key, value in config.items() if key not in NOT_DECISIVE}
    protocol = {k: v for k, v in shared.get("protocol", {}).items() if k not in GRID}
    separate = "seed" in config and Seeds.read(config).shared is None
    told = {"protocol": protocol, "separate": separate, "data": data}
    return json.dumps(shared | told, sort_keys=True)


def _point(runs: Sequence[RunRecord]) -> list[float]:
    protocol = runs[0].result.get("config", {}).get("protocol", {})
    values = [protocol.get(key) for key in GRID]
    return [value if isinstance(value, int | float) else 0 for value in values]
