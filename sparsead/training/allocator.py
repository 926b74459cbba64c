"""A process's memory: what is freed is kept for the next step, what stays is left alone."""

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
    """Have glibc keep what is freed instead of returning it to the system.

    By default every large tensor of a step on the CPU is mapped, faulted in page by page and
    unmapped again; raising the size that counts as large helps up to 32 MiB only. Where the C
    library is another one, nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_MMAP_MAX, 0)


def return_freed_memory() -> None:
    """Return to the system what has been kept so far."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@cache
def freeze_imported_objects() -> None:
    """Take what the imports made out of all later garbage collections: it stays, and is much."""
    gc.freeze()
