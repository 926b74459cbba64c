"""What a run reads: its task, backbone and encoded data, shared by the runs of a process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from sparsead.assembly.build import build_task
from sparsead.backbones.loading import Backbone, load_backbone
from sparsead.config.run import RunSpec
from sparsead.tasks.cache import encoded
from sparsead.tasks.contract import Task

_HELD = 8
"""Backbones and tasks of a table's columns."""


@dataclass(frozen=True)
class Inputs:
    """What a run reads.

    Attributes:
        task: built once; it may know of its data what its options leave open.
        backbone: without its weights: every model maps them from their file, and what trains is
            copied when it is written to.
        data: the encoded splits.
        described: lengths, cut examples and classes of each split, for the record.
    """

    task: Task
    backbone: Backbone
    data: DatasetDict
    described: dict[str, Any]


def read_inputs(spec: RunSpec) -> Inputs:
    """Return what the run reads; a sweep's runs that read the same share it.

    Raises:
        SparseadError: it cannot be had.
    """
    read = (spec.backbone, spec.task, spec.protocol.selection, *_states(spec))
    return _read(_Request(repr(read), spec))


@dataclass(frozen=True)
class _Request:
    read: str
    spec: RunSpec = field(compare=False)


@lru_cache(_HELD)
def _read(request: _Request) -> Inputs:
    spec = request.spec
    task = build_task(spec)
    backbone = load_backbone(spec.backbone)
    backbone.check_head(task.head)
    options = spec.task.arguments()
    for name in ("max_length", "target_length"):
        backbone.check_length(f"task.{name}", options.get(name, 0))
    return Inputs(task, backbone, *encoded(task, backbone.tokenizer, spec.protocol.selection))


def _states(spec: RunSpec) -> Iterator[tuple[str, int, int]]:
    """Yield what tells whether a local file is still the same."""
    folder = spec.backbone.path
    for file in (*spec.task.local_files(), *(sorted(Path(folder).iterdir()) if folder else ())):
        status = file.stat()
        yield str(file), status.st_mtime_ns, status.st_size
