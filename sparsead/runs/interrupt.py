"""Ctrl-C: once to stop at the last checkpoint, twice to stop at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

INTERRUPTED = 130


@contextmanager
def stopping_on_interrupt(goes_on: str) -> Iterator[None]:
    """Let the first Ctrl-C unwind the block, say what goes on, and exit with status 130.

    A second one ends the process where it stands, which costs no record either.

    Args:
        goes_on: what the user does to go on, for the message.
    """
    before = signal.getsignal(signal.SIGINT)
    if current_thread() is main_thread():
        signal.signal(signal.SIGINT, _stop)
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"sparsead: interrupted; {goes_on}\n")
        raise SystemExit(INTERRUPTED) from None
    finally:
        if current_thread() is main_thread():
            signal.signal(signal.SIGINT, before)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    sys.stderr.write("sparsead: stopping; again to stop at once\n")
    raise KeyboardInterrupt
