"""Stopping a training early: by Ctrl-C, or by a watch that is asked after every epoch.

The first Ctrl-C stops after the next checkpoint, the second one immediately.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

from sparsead.errors.display import tell

INTERRUPTED = 130

Watch = Callable[[Sequence[float]], bool]
"""A function from the scores of all epochs so far to whether to stop after the last of them.

Larger scores are better. The score is the task's main metric. A task that generates text is scored
only after training, and has the negative validation loss as its score here.
"""


class _Interrupt:
    """How this process handles Ctrl-C. Python programs that call `train` keep their own handling.

    `handled`: a command has installed the handler. `active`: the first Ctrl-C is deferred until the
    next checkpoint. `requested`: a deferred Ctrl-C has arrived.
    """

    handled = False
    active = False
    requested = False


@contextmanager
def stop_on_interrupt(goes_on: str) -> Iterator[None]:
    """Let the first Ctrl-C leave the block in order, print a message, and exit with status 130.

    A second Ctrl-C ends the process immediately; finished records are not affected.

    Args:
        goes_on: how the user can resume, for the message.
    """
    before = signal.getsignal(signal.SIGINT)
    if current_thread() is main_thread():
        signal.signal(signal.SIGINT, _stop)
        _Interrupt.handled = True
    try:
        yield
    except KeyboardInterrupt:
        tell(f"interrupted; {goes_on}")
        raise SystemExit(INTERRUPTED) from None
    finally:
        if current_thread() is main_thread():
            signal.signal(signal.SIGINT, before)
            _Interrupt.handled = False


@contextmanager
def defer_interrupt() -> Iterator[Callable[[], bool]]:
    """Defer the first Ctrl-C until the block can stop without losing work.

    The block receives a function that tells whether Ctrl-C was pressed. It raises KeyboardInterrupt
    itself once it has saved a checkpoint; otherwise this context manager raises it at the end. With
    several distributed processes Ctrl-C is not deferred, because each would stop at a different
    step.
    """
    _Interrupt.active = _Interrupt.handled and int(os.environ.get("WORLD_SIZE", "1")) == 1
    try:
        yield lambda: _Interrupt.requested
        if _Interrupt.requested:
            raise KeyboardInterrupt
    finally:
        _Interrupt.active = _Interrupt.requested = False


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    tell("stopping; press Ctrl-C again to stop immediately")
    if not _Interrupt.active:
        raise KeyboardInterrupt
    _Interrupt.requested = True
