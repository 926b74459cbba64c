"""`sparsead plan`: show a table's missing runs, and estimate their time and disk space."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from sparsead.commands.train import train_run
from sparsead.config.arguments import Parser, add_table
from sparsead.errors import SparseadError
from sparsead.runs.files import read_json, write_atomically
from sparsead.runs.request import RunRequest
from sparsead.tables.cells import list_cells
from sparsead.tables.estimate import (
    THROUGHPUT_FILE,
    Throughput,
    describe_plan,
    find_unmeasured,
    name_kind,
)
from sparsead.tables.files import load_table
from sparsead.tasks.contract import TASKS

_BATCHES = 4


def main() -> None:
    """Entry point of `sparsead plan`."""
    parser = Parser("sparsead plan", __doc__)
    add_table(parser)
    arguments = parser.parse()
    wanted = list_cells(load_table(arguments.table, arguments.overrides))
    kinds = {name_kind(cell.spec): cell.request for cell in reversed(find_unmeasured(wanted))}
    if kinds:
        calibrate(kinds, lambda line: sys.stderr.write(f"{line}\n"))
    sys.stdout.write(describe_plan(wanted))


def calibrate(kinds: Mapping[str, RunRequest], tell: Callable[[str], object]) -> None:
    """Measure the throughput of each kind of run on a few batches, and store it below outputs.

    A kind that cannot run is left out; each reason is printed once.

    Args:
        kinds: key of each kind → one run of that kind.
        tell: called with one line of progress for each kind.
    """
    failed: dict[str, list[str]] = defaultdict(list)
    for name, request in kinds.items():
        spec = request.spec
        words = f"{spec.backbone.name}, {spec.task.name}, {spec.adapter.name}, {spec.pruner.name}"
        try:
            measured = _measure(request)
        except SparseadError as error:
            failed[str(error)].append(words)
            continue
        tell(f"measured {words}")
        file = request.outputs / THROUGHPUT_FILE
        write_atomically(file, json.dumps(read_json(file) | {name: asdict(measured)}, indent=1))
    for reason, (first, *others) in failed.items():
        more = f" and {len(others)} other kinds of run" if others else ""
        tell(f"cannot measure {first}{more}: {reason}")


def _measure(request: RunRequest) -> Throughput:
    spec = request.spec
    whole = TASKS.bind(spec.task.method, replace(spec.task, limit=None).arguments())().load()
    limit = _BATCHES * spec.protocol.batch_size
    with tempfile.TemporaryDirectory() as folder:
        short = replace(
            spec,
            task=replace(spec.task, limit=limit),
            protocol=replace(spec.protocol, epochs=1, evaluations=None),
        )
        result = train_run(RunRequest(short, Path(folder))).result
    seconds = result["seconds"]
    training, validation = (min(limit, len(whole[split])) for split in ("train", "validation"))
    return Throughput(
        fixed=seconds["load"] + seconds["prune"] + seconds["trainer"],
        train=seconds["train"] / training,
        evaluate=seconds["evaluate"] / validation,
        examples=(len(whole["train"]), len(whole["validation"])),
        stored=result["parameters"]["stored_bytes"],
    )
