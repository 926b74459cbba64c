"""Estimate how long a table's missing runs will take, and how much disk space they need.

The estimate rests on the latest run of each kind on this machine: a short one by which `sparsead
plan` measures it, or a whole one, which tells more.
"""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, NonNegativeFloat, NonNegativeInt
from typing_extensions import TypedDict

from sparsead.config.groups import TaskSpec
from sparsead.config.run import RunSpec
from sparsead.config.search import SearchSpec
from sparsead.errors.display import pluralize
from sparsead.runs.checked import find_checksummed, write_checksummed
from sparsead.runs.files import file_digest
from sparsead.runs.request import RunRequest
from sparsead.runs.states import Missing, read_state
from sparsead.tables.cells import Cell, by_place, runs_by_point
from sparsead.tables.choice import find_choice
from sparsead.tables.sweep import count_states, drop_duplicates

THROUGHPUT_FILE = Path("cache") / "throughput.json"
MEASURES = "sparsead plan measures them"
TIMES = {"h": 3600, "min": 60, "s": 1}
SIZES = {"GB": 1e9, "MB": 1e6, "kB": 1e3}
_ONCE = ("load", "prune", "trainer")
"""The phases of a run whose length does not depend on the number of examples."""


@dataclass(frozen=True)
class Throughput:
    """The measured cost of a run of one kind on this machine.

    Attributes:
        fixed: seconds once per run: loading, pruning, and starting and ending the training.
        train: seconds per training example and epoch.
        evaluate: seconds per validation example and evaluation.
        score: seconds per example that is scored only at the end, such as a generated text.
        examples: numbers of examples of the full training and validation splits.
        scored: likewise of each split that is scored only at the end.
        stored: size of a record's weights in bytes.
    """

    fixed: float
    train: float
    evaluate: float
    score: float
    examples: tuple[int, int]
    scored: tuple[int, ...]
    stored: int

    def seconds(self, spec: RunSpec) -> float:
        """Return the estimated seconds of one run."""
        limit = spec.task.limit
        training, validation, *scored = (
            min(n, limit) if limit else n for n in (*self.examples, *self.scored)
        )
        protocol = spec.protocol
        per_epoch = protocol.steps_per_epoch(training)
        epochs = protocol.steps(training) / per_epoch
        evaluated = min(protocol.evaluations_per_epoch(training), per_epoch)
        evaluations = math.ceil(epochs * evaluated)
        evaluations += protocol.evaluations is not None  # then also before the first step
        steps = epochs * training * self.train + evaluations * validation * self.evaluate
        return self.fixed + steps + sum(scored) * self.score


def describe_plan(
    wanted: Sequence[Cell],
    search: SearchSpec | None = None,
    unmeasured: str = MEASURES,
    *,
    retry: bool = False,
) -> str:
    """Return a text with the number of runs in each state, and the time and space still needed.

    There is an estimate only if every kind of missing run was measured on this machine, which
    `sparsead plan` does.

    Args:
        wanted: the table's cells.
        search: the table's search, if any. With search=asha the plan is the most that it can take.
        unmeasured: what to say of runs that have no estimate.
        retry: failed runs are trained again; the estimate does not count them.
    """
    grid = _describe_grid(wanted)
    wanted = list_undecided(wanted, search)
    if search is not None and search.name == "asha":
        grid += (
            f"search=asha: at most this; a point goes on only while it is in the best 1 of "
            f"{search.reduction} at its rung, the first of which is after epoch "
            f"{search.first_rung}\n"
        )
    counts = count_states(wanted)
    line = ", ".join(f"{counts[state]} {state}" for state in ("done", "failed", "running"))
    waiting = f", {counts['waiting']} waiting for prerequisites" if counts["waiting"] else ""
    again = f", {counts['failed']} to run again" if retry and counts["failed"] else ""
    runs = pluralize(sum(counts.values()), "run")
    text = f"{grid}{runs}: {line}, {counts['missing']} to run{again}{waiting}\n"
    cost = estimate_cost(wanted)
    if not counts["missing"]:
        return text
    if cost.unknown:
        return text + f"no estimate for {cost.unknown} of them; {unmeasured}\n"
    duration, size = format_amount(cost.seconds, TIMES), format_amount(cost.stored, SIZES)
    return text + f"about {duration} on this machine, one at a time, and {size}\n"


class Cost(NamedTuple):
    """What the missing runs of a table need: seconds, one at a time, and bytes of disk.

    `unknown` is the number of missing runs that were not measured on this machine; the others are
    summed.
    """

    seconds: float
    stored: int
    unknown: int


def estimate_cost(wanted: Sequence[Cell]) -> Cost:
    """Return what the missing runs of a table need on this machine."""
    missing = _missing(wanted)
    rates = _rates(_measured_as(missing, wanted))
    specs = [cell.spec for cell in missing]
    known = [(spec, rate) for spec, rate in zip(specs, rates, strict=True) if rate is not None]
    seconds = sum(rate.seconds(spec) for spec, rate in known)
    return Cost(seconds, sum(rate.stored for _, rate in known), len(missing) - len(known))


def list_undecided(wanted: Sequence[Cell], search: SearchSpec | None) -> list[Cell]:
    """Return the runs that count; with search=asha, once a point is chosen, that point's alone."""
    if search is None or search.name != "asha":
        return list(wanted)
    return [cell for found in by_place(wanted) for cell in _at_choice(found, search)]


def _at_choice(cells: Sequence[Cell], search: SearchSpec) -> list[Cell]:
    waits = any(cell.waits for cell in cells)
    point = None if waits else find_choice(search, runs_by_point(cells)).point
    return [cell for cell in cells if point in (None, cell.point)]


def _describe_grid(wanted: Sequence[Cell]) -> str:
    """Return a line with the size of a table's search; empty for a table without one."""
    searched = [cell for cell in wanted if cell.point is not None]
    if not searched:
        return ""
    points = {cell.point for cell in searched}
    cells = {(cell.backbone, cell.row, cell.column) for cell in searched}
    seeds = {cell.seed for cell in searched}
    return (
        f"search: points x cells x seeds = {len(points)} x {len(cells)} x {len(seeds)}; "
        f"without a search {pluralize(len(cells) * len(seeds), 'run')}\n"
    )


def format_amount(amount: float, units: Mapping[str, float]) -> str:
    """Return an amount with two significant digits, in the largest unit that it reaches."""
    name = next((name for name, size in units.items() if amount >= size), list(units)[-1])
    return f"{float(f'{amount / units[name]:.2g}'):g} {name}"


def name_kind(spec: RunSpec) -> str:
    """Return the key of a run's throughput, which runs of about equal cost per example share."""
    words: Iterable[Any] = (
        socket.gethostname(),
        spec.device,
        spec.precision,
        spec.backbone.name,
        spec.backbone.path,
        spec.task.name,
        _hash_data(spec.task),
        spec.task.max_length,
        spec.adapter.name,
        spec.pruner.name if spec.masked else "dense",
        spec.protocol.batch_size,
        spec.protocol.selection,
    )
    return "|".join(str(word) for word in words)


def _hash_data(task: TaskSpec) -> str:
    """Return a hash of what the sizes of a task's splits depend on, and how it is scored.

    Data files of one name are other data if their content differs, and so are configurations of one
    data set of the hub.
    """
    files = [file_digest(file) for file in task.local_files()]
    decisive = [files, task.revision, task.options]
    return sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _missing(wanted: Sequence[Cell]) -> list[Cell]:
    ready = [cell for cell in drop_duplicates(wanted) if not cell.waits]
    return [cell for cell in ready if isinstance(read_state(cell.request.folder), Missing)]


def find_unmeasured(wanted: Sequence[Cell]) -> dict[str, RunRequest]:
    """Return a run of each kind of missing run that has not been measured on this machine."""
    runs = _measured_as(_missing(wanted), wanted)
    unmeasured = [run for run, rate in zip(runs, _rates(runs), strict=True) if rate is None]
    return {name_kind(run.spec): run for run in reversed(unmeasured)}


def _measured_as(missing: Sequence[Cell], wanted: Sequence[Cell]) -> list[RunRequest]:
    """Return for each missing cell the run by which its throughput is measured.

    That is its own run; for the points of a search it is the one of the grid's smallest batch size,
    which takes the longest per example, so that a kind need not be measured for each batch size.
    """
    smallest = min((cell.point.batch_size for cell in wanted if cell.point), default=1)
    runs = []
    for cell in missing:
        spec = cell.spec
        if cell.point is not None:
            spec = replace(spec, protocol=replace(spec.protocol, batch_size=smallest))
        runs.append(replace(cell.request, spec=spec))
    return runs


def _rates(runs: Sequence[RunRequest]) -> list[Throughput | None]:
    """Return the throughput of each run; None where its kind has not been measured."""
    rates: dict[str, Throughput | None] = {}
    found = []
    for run in runs:
        kind = name_kind(run.spec)
        if kind not in rates:
            rates[kind] = read_throughput(run)
        found.append(rates[kind])
    return found


def read_throughput(request: RunRequest) -> Throughput | None:
    """Return the measured throughput of this kind of run on this machine, or None."""
    measured = _read_measured(request.outputs).get(name_kind(request.spec))
    if measured is None:
        return None
    lists = {key: tuple(measured[key]) for key in ("examples", "scored")}
    return Throughput(**{**measured, **lists})


def note_throughput(request: RunRequest, result: Mapping[str, Any]) -> None:
    """Store the throughput that a finished run shows; later estimates of its kind rest on it.

    A run on a part of the data is left out, because it does not tell how large the whole is.
    Nothing happens if the file cannot be written, because the run itself is recorded.

    Args:
        request: the run.
        result: the result of its record.
    """
    if request.spec.task.limit is not None:
        return
    counts = {split: values["examples"] for split, values in result["data"].items()}
    with suppress(OSError):
        write_throughput(request, measure_throughput(result, counts))


def measure_throughput(result: Mapping[str, Any], counts: Mapping[str, int]) -> Throughput:
    """Return the throughput that a finished run shows.

    Args:
        result: the result of its record.
        counts: numbers of examples of the splits that the run used.
    """
    seconds = result["seconds"]
    scored = tuple(result["predictions"][split]["examples"] for split in splits_scored_last(result))
    once = _ONCE if scored else (*_ONCE, "report")
    evaluations = sum("validation_loss" in entry for entry in result["history"])
    return Throughput(
        fixed=sum(seconds[phase] for phase in once),
        train=seconds["train"] / (result["history"][-1]["epoch"] * counts["train"]),
        evaluate=seconds["evaluate"] / (max(evaluations, 1) * counts["validation"]),
        score=seconds["report"] / sum(scored) if scored else 0.0,
        examples=(counts["train"], counts["validation"]),
        scored=scored,
        stored=result["parameters"]["stored_bytes"],
    )


def splits_scored_last(result: Mapping[str, Any]) -> list[str]:
    """Return the splits of a finished run that were predicted, but not evaluated after epochs."""
    evaluated = any(entry.get("scores") for entry in result["history"])
    return [split for split in result["predictions"] if split != "validation" or not evaluated]


def write_throughput(request: RunRequest, measured: Throughput) -> None:
    """Store the measured throughput of this kind of run on this machine.

    Raises:
        OSError: the file cannot be written.
    """
    kinds = {**_read_measured(request.outputs), name_kind(request.spec): asdict(measured)}
    write_checksummed(request.outputs / THROUGHPUT_FILE, {"kinds": kinds}, indent=1)


class _Measured(TypedDict):
    fixed: NonNegativeFloat
    train: NonNegativeFloat
    evaluate: NonNegativeFloat
    score: NonNegativeFloat
    scored: list[NonNegativeInt]
    examples: Annotated[list[NonNegativeInt], Field(min_length=2, max_length=2)]
    stored: NonNegativeInt


class _Kinds(TypedDict):
    kinds: dict[str, _Measured]


def _read_measured(outputs: Path) -> Mapping[str, Any]:
    found = find_checksummed(outputs / THROUGHPUT_FILE, _Kinds)
    return {} if found is None else found["kinds"]
