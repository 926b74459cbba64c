"""Errors of a memory that is too small, in one line that says what needs less of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sparsead.errors import DeviceError

_ALLOCATION = re.compile(r"tried to allocate ([\d.]+ \w+)", re.IGNORECASE)
_NEEDS_LESS = (
    "a smaller protocol.batch_size with protocol.gradient_accumulation, or "
    "protocol.gradient_checkpointing=true, needs less"
)


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error is that a GPU's or the machine's memory is full.

    For a CPU torch raises a RuntimeError that only its text tells from others.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


@contextmanager
def explain_lack_of_memory(device: str) -> Iterator[None]:
    """Turn an error that memory is full into one that says what to change.

    Args:
        device: the device of the run, for the message.

    Raises:
        DeviceError: the block needed more memory than there is.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        tried = _ALLOCATION.search(str(error))
        allocation = f" (it tried to allocate {tried[1]})" if tried else ""
        raise DeviceError(
            f"device={device}: the run needs more memory than there is{allocation}; {_NEEDS_LESS}"
        ) from error
