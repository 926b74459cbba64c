"""A run in several processes, started by torchrun: only the first one claims and writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, reduce

from sparsead.errors import AlreadyRecordedError
from sparsead.runs.staging import Steps, staged

Value = TypeVar("Value")


def is_main() -> bool:
    """Tell whether this process writes the run's files: the only process, or the first one."""
    return os.environ.get("RANK", "0") == "0"


def broadcast_value(value: Value) -> Value:
    """Return the first process's value in every process; call it inside `stage_once`."""
    if not _are_several():
        return value
    (value,) = broadcast_object_list([value])
    return value


def average(value: float) -> float:
    """Return the mean of a number over all processes; each of them calls it."""
    if not _are_several():
        return value
    here = torch.tensor(value, dtype=torch.float64, device=PartialState().device)
    return float(reduce(here, "mean"))


@contextmanager
def stage_once(folder: Path, *, replace: bool, device: str, steps: Steps) -> Iterator[Path]:
    """Claim a run in the first process only, and yield its staging folder to every process.

    All processes leave the block together; see `sparsead.runs.staging.staged`.

    Args:
        folder: folder of the record.
        replace: replace an existing record.
        device: "cpu" or "cuda", on which the processes communicate.
        steps: number of steps that can be resumed from a staging folder.

    Raises:
        SparseadError: see `staged`.
        AlreadyRecordedError: in the other processes, if the first one could not claim the run.
    """
    if not _are_several():
        with staged(folder, replace=replace, steps=steps) as own:
            yield own
        return
    state = PartialState(cpu=device == "cpu")
    with ExitStack() as stack:
        staging: Path | None = None
        try:
            if state.is_main_process:
                staging = stack.enter_context(staged(folder, replace=replace, steps=steps))
        finally:
            (staging,) = broadcast_object_list([staging])
        if staging is None:
            raise AlreadyRecordedError(f"{folder}: the first process could not claim this run")
        yield staging
    state.wait_for_everyone()


def _are_several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
