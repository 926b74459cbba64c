"""`sparsead plan`: show a table's missing runs, their time and disk space, and what they can show.

`sparsead plan table1 --power 0.8 --effect 0.5` prints the seeds needed to show half a point.

$ sparsead plan table3 backbone=minilm
$ sparsead plan table3 --power 0.8 --effect 0.5
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sparsead.commands.train import train_run
from sparsead.config.arguments import Parser, add_json, add_table
from sparsead.errors import ConfigError, SparseadError
from sparsead.errors.display import tell
from sparsead.report.power import (
    POWER,
    count_comparisons,
    describe_needed_seeds,
    describe_power,
    detectable_values,
    needed_seeds_values,
)
from sparsead.report.results import measure
from sparsead.runs.request import RunRequest
from sparsead.tables.cells import TableSpec, list_cells
from sparsead.tables.estimate import (
    Throughput,
    describe_plan,
    estimate_cost,
    find_unmeasured,
    list_undecided,
    measure_throughput,
    splits_scored_last,
    write_throughput,
)
from sparsead.tables.files import load_table
from sparsead.tables.sweep import count_states

if TYPE_CHECKING:
    from datasets import DatasetDict

    from sparsead.config.run import RunSpec

_BATCHES = 4


def main() -> None:
    """Entry point of `sparsead plan`."""
    parser = Parser("sparsead plan", __doc__)
    add_table(parser)
    shown = "probability with which a difference is to be shown (default: 0.8)"
    parser.add_argument("--power", type=float, default=POWER, metavar="SHARE", help=shown)
    needed = "only print the seeds needed to show a difference of so many points"
    parser.add_argument("--effect", type=float, metavar="POINTS", help=needed)
    spread = (
        "standard deviation of paired differences (default: that of the recorded ones, or 1 point "
        "if there are too few)"
    )
    parser.add_argument("--sd", type=float, metavar="POINTS", help=spread)
    add_json(parser)
    arguments = parser.parse()
    _check_numbers(arguments)
    table = load_table(arguments.table, arguments.overrides)
    if arguments.effect is not None:
        sys.stdout.write(_needed_seeds(table, arguments))
        return
    cells = list_cells(table)
    wanted = list_undecided(cells, table.search)
    kinds = find_unmeasured(wanted)
    if kinds:
        calibrate(kinds, tell)
    if arguments.json:
        planned = {"runs": dict(count_states(wanted)), **estimate_cost(wanted)._asdict()}
        planned |= detectable_values(measure(table), arguments.power, arguments.sd)
        sys.stdout.write(f"{json.dumps(planned, indent=2)}\n")
        return
    sys.stdout.write(describe_plan(cells, table.search, "they could not be measured"))
    sys.stdout.write(describe_power(measure(table), arguments.power, arguments.sd))


def _check_numbers(arguments: Namespace) -> None:
    if not 0 < arguments.power < 1:
        raise ConfigError(f"--power {arguments.power:g}: must be above 0 and below 1")
    for option in ("effect", "sd"):
        value = getattr(arguments, option)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"--{option} {value:g}: must be a finite number above 0")


def _needed_seeds(table: TableSpec, arguments: Namespace) -> str:
    results = measure(table)
    if not count_comparisons(results):
        raise ConfigError(f"--effect {arguments.effect:g}: {table.name} compares no rows")
    asked = (arguments.power, arguments.effect, arguments.sd)
    if arguments.json:
        return f"{json.dumps(needed_seeds_values(results, *asked), indent=2)}\n"
    return describe_needed_seeds(results, *asked)


def calibrate(kinds: Mapping[str, RunRequest], tell: Callable[[str], object]) -> None:
    """Measure the throughput of each kind of run on a few batches, and store it below outputs.

    A kind that cannot run is left out; each reason is printed once.

    Args:
        kinds: key of each kind → one run of that kind.
        tell: called with one line of progress for each kind.
    """
    from sparsead.training.quiet import quiet_libraries

    quiet_libraries()
    failed: dict[str, list[str]] = defaultdict(list)
    for request in kinds.values():
        spec = request.spec
        words = f"{spec.backbone.name}, {spec.task.name}, {spec.adapter.name}, {spec.pruner.name}"
        try:
            measured = _measure(request)
        except SparseadError as error:
            failed[str(error)].append(words)
            continue
        tell(f"measured {words}")
        write_throughput(request, measured)
    for reason, (first, *others) in failed.items():
        more = f" and {len(others)} other kinds of run" if others else ""
        tell(f"cannot measure {first}{more}: {reason}")


def _measure(request: RunRequest) -> Throughput:
    from sparsead.assembly.build import build_task  # imports torch, which is slow
    from sparsead.training.arguments import check_steps
    from sparsead.training.quiet import quiet_libraries

    quiet_libraries()
    spec = request.spec
    whole = build_task(replace(spec, task=replace(spec.task, limit=None))).load()
    check_steps(spec, _count_trained(spec, whole))
    with tempfile.TemporaryDirectory() as folder:
        short = _shorten(spec, whole)
        result = train_run(RunRequest(short, Path(folder), threads=request.threads)).result
    counts = {split: values["examples"] for split, values in result["data"].items()}
    held_out = _count_held_out(spec, whole)
    return replace(
        measure_throughput(result, counts),
        examples=(len(whole["train"]) - held_out, held_out or len(whole["validation"])),
        scored=tuple(_count_examples(spec, whole, split) for split in splits_scored_last(result)),
    )


def _shorten(spec: RunSpec, whole: DatasetDict) -> RunSpec:
    """Return the run on its first few batches, without what counts the steps of the whole run.

    A step takes equally long in every schedule, and warm-up and stages of it may need more steps
    than there are here.
    """
    few = replace(spec, task=replace(spec.task, limit=_BATCHES * spec.protocol.batch_size))
    batches = spec.protocol.batches_per_epoch(_count_trained(few, whole))
    protocol = replace(
        spec.protocol,
        epochs=1,
        evaluations=None,
        max_steps=None,
        gradient_accumulation=min(spec.protocol.gradient_accumulation, batches),
        warmup=0.0,
        scheduler="constant",
        scheduler_options={},
    )
    return replace(few, protocol=protocol)


def _count_trained(spec: RunSpec, whole: DatasetDict) -> int:
    """Return the number of examples on which a run is trained."""
    rows = len(whole["train"])
    rows = min(rows, spec.task.limit or rows)
    return rows - round(spec.protocol.selection * rows)


def _count_examples(spec: RunSpec, whole: DatasetDict, split: str) -> int:
    """Return the number of examples of a split; a selection split is a part of train."""
    if not spec.protocol.selection:
        return len(whole[split])
    return len(whole["validation"]) if split == "test" else _count_held_out(spec, whole)


def _count_held_out(spec: RunSpec, whole: DatasetDict) -> int:
    """Return the number of training examples that the selection split takes."""
    return round(spec.protocol.selection * len(whole["train"]))
