"""A short run of each kind that a table asks for, to know what the whole table will take."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from sparsead.config import RunSpec
from sparsead.errors import SparseadError
from sparsead.plan import THROUGHPUT_FILE, Throughput
from sparsead.registry import TASKS
from sparsead.runs.files import read_json, write_atomically
from sparsead.train import train
from sparsead.training.quiet import quiet_libraries

_BATCHES = 4


def calibrate(kinds: Mapping[str, RunSpec], tell: Callable[[str], object]) -> None:
    """Measure each kind of run on a few batches, and keep the figures in the outputs folder.

    A kind that cannot run is left out; each reason for that is told of once.

    Args:
        kinds: name → one run of that kind.
        tell: hears a line for each.
    """
    quiet_libraries()
    failed: dict[str, list[str]] = defaultdict(list)
    for name, spec in kinds.items():
        words = f"{spec.backbone.name}, {spec.task.name}, {spec.adapter.name}, {spec.pruner.name}"
        try:
            measured = _measure(spec)
        except SparseadError as error:
            failed[str(error)].append(words)
            continue
        tell(f"measured {words}")
        file = spec.outputs / THROUGHPUT_FILE
        write_atomically(file, json.dumps(read_json(file) | {name: asdict(measured)}, indent=1))
    for reason, (first, *others) in failed.items():
        more = f" and {len(others)} other kinds of run" if others else ""
        tell(f"cannot measure {first}{more}: {reason}")


def _measure(spec: RunSpec) -> Throughput:
    whole = TASKS.bind(spec.task.method, replace(spec.task, limit=None).arguments())().load()
    limit = _BATCHES * spec.protocol.batch_size
    with tempfile.TemporaryDirectory() as folder:
        short = replace(
            spec,
            task=replace(spec.task, limit=limit),
            protocol=replace(spec.protocol, epochs=1),
            outputs=Path(folder),
        )
        result = train(short).result
    seconds = result["seconds"]
    training, validation = (min(limit, len(whole[split])) for split in ("train", "validation"))
    return Throughput(
        fixed=seconds["load"] + seconds["prune"] + seconds["trainer"],
        train=seconds["train"] / training,
        evaluate=seconds["evaluate"] / validation,
        examples=(len(whole["train"]), len(whole["validation"])),
        stored=result["parameters"]["stored_bytes"],
    )
