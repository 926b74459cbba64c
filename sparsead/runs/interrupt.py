"""What ends a training early: Ctrl-C (once behind a checkpoint, twice at once), or a watch."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

INTERRUPTED = 130

Watch = Callable[[Sequence[float]], bool]
"""Told how good every epoch so far was, and returns whether to stop behind the last of them.

Larger is better: the main score, or the validation loss, negated, of a task that is scored by the
texts it generates after training.
"""


class _Held:
    """What a command does with Ctrl-C; a program that calls `train` keeps its own handling.

    `handled`: the command stops on Ctrl-C. `active`: the first one waits for a checkpoint.
    `requested`: there was one.
    """

    handled = False
    active = False
    requested = False


@contextmanager
def stop_on_interrupt(goes_on: str) -> Iterator[None]:
    """Let the first Ctrl-C unwind the block, say what goes on, and exit with status 130.

    A second one ends the process where it stands, which costs no record either.

    Args:
        goes_on: what the user does to go on, for the message.
    """
    before = signal.getsignal(signal.SIGINT)
    if current_thread() is main_thread():
        signal.signal(signal.SIGINT, _stop)
        _Held.handled = True
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"sparsead: interrupted; {goes_on}\n")
        raise SystemExit(INTERRUPTED) from None
    finally:
        if current_thread() is main_thread():
            signal.signal(signal.SIGINT, before)
            _Held.handled = False


@contextmanager
def defer_interrupt() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C wait until the block can be left without loss; tell whether it came.

    The block asks the function that it is given, and raises KeyboardInterrupt itself; what it
    leaves is raised at its end. Of several processes that train together each would stop at a step
    of its own: there Ctrl-C does not wait.
    """
    _Held.active = _Held.handled and int(os.environ.get("WORLD_SIZE", "1")) == 1
    try:
        yield lambda: _Held.requested
        if _Held.requested:
            raise KeyboardInterrupt
    finally:
        _Held.active = _Held.requested = False


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    sys.stderr.write("sparsead: stopping; again to stop at once\n")
    if not _Held.active:
        raise KeyboardInterrupt
    _Held.requested = True
