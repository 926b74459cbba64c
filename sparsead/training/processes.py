"""Several processes of one run, as torchrun starts them: only the first claims and writes."""

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
    """Tell whether this process is the one that writes; it is where there is no other."""
    return os.environ.get("RANK", "0") == "0"


def broadcast_value(value: Value) -> Value:
    """Return the first process's value in every process; call it inside `stage_once`."""
    if not _are_several():
        return value
    (value,) = broadcast_object_list([value])
    return value


@contextmanager
def stage_once(folder: Path, *, replace: bool, device: str) -> Iterator[Path]:
    """Yield to every process the folder that `staged` yields to the first; all leave together.

    Args:
        folder: of the record.
        replace: put the new record in the place of one that is already there.
        device: "cpu" or "cuda", which the processes talk to each other through.

    Raises:
        SparseadError: as `staged`.
        AlreadyRecordedError: in the other processes, where the first cannot have the run.
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
            raise AlreadyRecordedError(f"{folder}: the first process does not do this run")
        yield staging_folder(folder)
    state.wait_for_everyone()


def _are_several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
