"""The number of threads that this process computes with on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from sparsead.config.threads import list_thread_variables, usable_cores


def use_threads(threads: int | None = None) -> None:
    """Compute with so many threads; None is `threads=auto`.

    That is a thread for each core that this process may use, unless the number is set by the user,
    torchrun, joblib or Ray. It is never more than torch's own number, which leaves out a core's
    second thread.
    """
    chosen = choose_threads() if threads is None else threads
    if chosen != torch.get_num_threads():
        torch.set_num_threads(chosen)


@contextmanager
def threads_within(threads: int | None) -> Iterator[None]:
    """Compute with so many threads in the block, and then with as many as before.

    None is `threads=auto`, within the number that the program around the block has set.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(choose_threads(before) if threads is None else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_threads(own: int | None = None) -> int:
    """Return the number of threads that `threads=auto` stands for.

    Args:
        own: the number that torch computes with; None is torch's own.
    """
    own = read_torch_threads() if own is None else own
    return own if list_thread_variables() else min(own, usable_cores().number)


@cache
def read_torch_threads() -> int:
    """Return torch's own number, asked for before it is changed."""
    return torch.get_num_threads()
