"""Memory of a process: freed memory is reused, and lasting objects are not garbage-collected."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import cache

# From glibc's malloc.h, where they are the numbers of mallopt's parameters.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = -1


def keep_freed_memory() -> None:
    """Make glibc keep freed memory instead of returning it to the system.

    By default every large tensor of a step on the CPU is mapped, faulted in page by page and
    unmapped again; the threshold for large tensors can be raised to 32 MiB only. With another C
    library than glibc nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_MMAP_MAX, 0)


def return_freed_memory() -> None:
    """Return the kept memory to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@cache
def freeze_imported_objects() -> None:
    """Exclude the many objects that imports created from later garbage collections."""
    gc.freeze()
