"""The choice of one point of a searched grid, for one row and column of a table, over its seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from sparsead.config.search import Point, SearchSpec
from sparsead.runs.record import RunRecord
from sparsead.runs.request import RunRequest
from sparsead.runs.states import Done, Failed, State, read_state


@dataclass(frozen=True)
class Choice:
    """The state of a search in one cell of a table.

    Attributes:
        point: the chosen point; None while points are missing, and where every point failed.
        finished: number of points all of whose runs are done or failed.
        points: number of points of the grid.
        failed: number of points that are left out because a run of theirs failed.
    """

    point: Point | None
    finished: int
    points: int
    failed: int

    @property
    def is_over(self) -> bool:
        """Whether no point is missing."""
        return self.finished == self.points


def choose_point(states: Mapping[Point, Sequence[State]]) -> Choice:
    """Choose the point with the best mean over its seeds, once every point is done or failed.

    Points are compared by `RunRecord.objective`: by the score on the part of the training set that
    is held out or, without one, on the validation split. A point with a failed seed is left out.
    Of equal points the first is chosen, and a score that is not defined ranks last.

    Args:
        states: the states of a point's runs, one for each seed.
    """
    over = {p: each for p, each in states.items() if _is_over(each)}
    done = {p: [s.record for s in each if isinstance(s, Done)] for p, each in over.items()}
    whole = {p: records for p, records in done.items() if len(records) == len(over[p])}
    best = max(whole, key=lambda p: _quality(whole[p]), default=None)
    is_over = len(over) == len(states)
    return Choice(best if is_over else None, len(over), len(states), len(over) - len(whole))


def find_choice(search: SearchSpec, request: RunRequest, seeds: Sequence[int]) -> Choice:
    """Return the state of a search from the records of its runs.

    Args:
        search: the grid.
        request: the run, with any seed and at any point.
        seeds: the seeds over which points are compared.
    """
    spec = request.spec

    def run(point: Point, seed: int) -> RunRequest:
        at = replace(spec, seed=seed, protocol=point.applied(spec.protocol))
        return replace(request, spec=at)

    return choose_point(
        {p: [read_state(run(p, seed).folder) for seed in seeds] for p in search.points}
    )


def _is_over(states: Sequence[State]) -> bool:
    return all(isinstance(state, Done | Failed) for state in states)


def _quality(records: Sequence[RunRecord]) -> float:
    objective = fmean(record.objective for record in records)
    if math.isnan(objective):
        return -math.inf
    return objective if records[0].higher_is_better else -objective
