"""Errors of a memory that is too small, in one line that says what may help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sparsead.errors import DeviceError

_FULL = re.compile("out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
_ALLOCATION = re.compile(r"tried to allocate ([\d.]+ \w+)", re.IGNORECASE)


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error is that a GPU's or the machine's memory is full.

    Only for some of them torch has a type of its own; the others are told by their text.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and _FULL.search(str(error)) is not None


def describe_lack_of_memory(error: BaseException) -> str | None:
    """Return what may help against a memory that is full; None for any other error."""
    if not lacks_memory(error):
        return None
    tried = _ALLOCATION.search(str(error))
    allocation = f" (it tried to allocate {tried[1]})" if tried else ""
    return (
        f"out of memory{allocation}: a smaller protocol.batch_size with "
        "protocol.gradient_accumulation, or protocol.gradient_checkpointing=true, may help"
    )


@contextmanager
def explain_lack_of_memory() -> Iterator[None]:
    """Turn an error that memory is full into one that says what may help.

    Raises:
        DeviceError: the block needed more memory than there is.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = describe_lack_of_memory(error)
        if said is None:
            raise
        raise DeviceError(said) from error
