"""The choice of one point of a searched grid, for one row and column of a table, over its seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from sparsead.config.search import Point, SearchSpec
from sparsead.runs.record import RunRecord
from sparsead.runs.request import RunRequest
from sparsead.runs.states import Done, Failed, State, read_state
from sparsead.runs.trials import list_points, read_trials, trials_file


@dataclass(frozen=True)
class Choice:
    """The state of a search in one cell of a table.

    Attributes:
        point: the chosen point; None while points are missing, and where the search failed.
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


Runs = Mapping[Point, Sequence[RunRequest]]
"""The runs of one cell of a table by their point, one for each seed."""


def find_choice(search: SearchSpec, runs: Runs) -> Choice:
    """Return the state of a search from the records of its runs."""
    states = {p: [read_state(run.folder) for run in each] for p, each in runs.items()}
    return choose_point(search, runs, states)


def choose_point(search: SearchSpec, runs: Runs, states: Mapping[Point, Sequence[State]]) -> Choice:
    """Return the state of a search.

    Points are compared by the mean over their seeds of `RunRecord.objective`: of the score on the
    part of the training set that is held out or, without one, on the validation split.

    With search=grid, the best point is chosen once every point is done or failed. A point with a
    failed seed is left out. Of equal points the first is chosen, and a score that is not defined
    ranks last. With search=asha, the file of the search names the chosen point.

    Args:
        search: the search.
        runs: the runs.
        states: the states of the runs.
    """
    return _chosen_by_asha(search, runs, states) if search.name == "asha" else _best(states)


def _best(states: Mapping[Point, Sequence[State]]) -> Choice:
    over = {p: each for p, each in states.items() if _is_over(each)}
    done = {p: [s.record for s in each if isinstance(s, Done)] for p, each in over.items()}
    whole = {p: records for p, records in done.items() if len(records) == len(over[p])}
    best = max(whole, key=lambda p: compute_quality(whole[p]), default=None)
    is_over = len(over) == len(states)
    return Choice(best if is_over else None, len(over), len(states), len(over) - len(whole))


def _chosen_by_asha(
    search: SearchSpec, runs: Runs, states: Mapping[Point, Sequence[State]]
) -> Choice:
    trials, chosen = read_trials(file_of(search, runs))
    failed = sum(trial.state == "failed" for trial in trials)
    for point in _named(runs, chosen):
        if _is_over(states[point]):
            is_done = all(isinstance(state, Done) for state in states[point])
            return Choice(point if is_done else None, len(runs), len(runs), failed)
    # Where no point finished nothing is chosen, and the search is over nevertheless.
    is_over = not any(trial.state == "finished" for trial in trials)
    over = len(trials) if is_over else min(len(trials), len(runs) - 1)
    return Choice(None, over, len(runs), failed)


def _named(runs: Runs, chosen: str | None) -> list[Point]:
    """Return the point, if any, that the file of a search names as the chosen one."""
    return [p for p, each in runs.items() if chosen in [run.folder.name for run in each]]


def explain_failure(search: SearchSpec, runs: Runs) -> str | None:
    """Return why a search by successive halving is over without a point; None if it is not.

    Args:
        search: the search.
        runs: the runs.
    """
    choice = find_choice(search, runs)
    if choice.point is not None or not choice.is_over:
        return None
    trials, chosen = read_trials(file_of(search, runs))
    for point in _named(runs, chosen):
        states = [read_state(run.folder) for run in runs[point]]
        errors = [str(state.failure["error"]) for state in states if isinstance(state, Failed)]
        return f"the chosen point, {point}, failed: {errors[0]}"
    return f"no point finished; the first one: {trials[0]}"


def file_of(search: SearchSpec, runs: Runs) -> Path:
    """Return the file of a search by successive halving over these runs."""
    return trials_file(search, list_points(next(iter(runs.values())), search))


def _is_over(states: Sequence[State]) -> bool:
    return all(isinstance(state, Done | Failed) for state in states)


def compute_quality(records: Sequence[RunRecord]) -> float:
    """Return how good a point is by the mean objective of its runs: of two, the better is greater.

    A point whose objective is not defined is the worst.
    """
    objective = fmean(record.objective for record in records)
    if math.isnan(objective):
        return -math.inf
    return objective if records[0].higher_is_better else -objective
