"""A run in several processes, started by torchrun: only the first one claims and writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from sparsead.errors import AlreadyRecordedError
from sparsead.runs.record import staged, staging_folder

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


@contextmanager
def stage_once(folder: Path, *, replace: bool, device: str) -> Iterator[Path]:
    """Claim a run in the first process only, and yield its staging folder to every process.

    All processes leave the block together; see `sparsead.runs.record.staged`.

    Args:
        folder: folder of the record.
        replace: replace an existing record.
        device: "cpu" or "cuda", on which the processes communicate.

    Raises:
        SparseadError: see `staged`.
        AlreadyRecordedError: in the other processes, if the first one could not claim the run.
    """
    if not _are_several():
        with staged(folder, replace=replace) as staging:
            yield staging
        return
    state = PartialState(cpu=device == "cpu")
    with ExitStack() as stack:
        began = False
        try:
            if state.is_main_process:
                stack.enter_context(staged(folder, replace=replace))
                began = True
        finally:
            (began,) = broadcast_object_list([began])
        if not began:
            raise AlreadyRecordedError(f"{folder}: the first process could not claim this run")
        yield staging_folder(folder)
    state.wait_for_everyone()


def _are_several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
