"""A run's inputs: task, backbone and encoded data. Runs in one process share them if they can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from sparsead.assembly.build import build_task
from sparsead.backbones.heads import gives_next_token
from sparsead.backbones.loading import Backbone, load_backbone
from sparsead.config.run import RunSpec
from sparsead.tasks.cache import encode_once
from sparsead.tasks.checked import check_head
from sparsead.tasks.contract import GeneratesText, Task

_HELD = 8
"""Number of cached inputs: enough for the columns of a table, which take turns."""


@dataclass(frozen=True)
class Inputs:
    """A run's inputs.

    Attributes:
        task: the task; it may have derived options from its data, such as the classes.
        backbone: the backbone without weights: each model maps them from their file into memory,
            and only weights that are trained are copied.
        data: the encoded splits.
        described: description of each split for the record: the examples' lengths, the number of
            truncated ones, and the classes.
    """

    task: Task
    backbone: Backbone
    data: DatasetDict
    described: dict[str, Any]


def read_inputs(spec: RunSpec) -> Inputs:
    """Return the run's inputs; runs of a sweep with the same task and backbone share them.

    Raises:
        SparseadError: the data or the backbone cannot be loaded, or do not fit each other.
    """
    determining = (spec.backbone, spec.task, spec.protocol.selection, *_states(spec))
    return _read(_CacheKey(repr(determining), spec))


@dataclass(frozen=True)
class _CacheKey:
    """A run as a key of the cache: two runs are equal if the same values determine their inputs."""

    determining: str
    spec: RunSpec = field(compare=False)


@lru_cache(_HELD)
def _read(key: _CacheKey) -> Inputs:
    spec = key.spec
    task = build_task(spec)
    backbone = load_backbone(spec.backbone)
    check_head(task.head)
    backbone.check_head(task.head)
    _check_lengths(task, backbone, spec.task.arguments())
    return Inputs(task, backbone, *encode_once(task, backbone.tokenizer, spec.protocol.selection))


def _check_lengths(task: Task, backbone: Backbone, options: Mapping[str, Any]) -> None:
    """Refuse texts that the backbone has no positions for.

    A decoder without an encoder reads and writes in one sequence.
    """
    lengths = {f"task.{name}": options.get(name, 0) for name in ("max_length", "target_length")}
    if isinstance(task, GeneratesText):
        generated = int(task.generation.get("max_new_tokens", 0))
        lengths["task.generation.max_new_tokens"] = generated
    for key, tokens in lengths.items():
        backbone.check_length(key, tokens)
    if gives_next_token(task.head):
        given, *written = lengths.items()
        backbone.check_length(*given, after=max(tokens for _, tokens in written))


def _states(spec: RunSpec) -> Iterator[tuple[str, int, int]]:
    """Yield path, modification time and size of each local file, to notice that one changed."""
    folder = spec.backbone.path
    for file in (*spec.task.local_files(), *(sorted(Path(folder).iterdir()) if folder else ())):
        status = file.stat()
        yield str(file.absolute()), status.st_mtime_ns, status.st_size
