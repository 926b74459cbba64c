"""How much memory pyarrow takes in a block, for the tests of files that decode to too much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow


@contextmanager
def watched_memory() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the most bytes that pyarrow held at once in any such block.

    The pool of the operating system's is used in such blocks alone, and never goes away, as what
    was read in the block may stay for longer.
    """
    usual, watched = pyarrow.default_memory_pool(), pyarrow.system_memory_pool()
    pyarrow.set_memory_pool(watched)
    try:
        yield watched.max_memory
    finally:
        pyarrow.set_memory_pool(usual)
