"""The hub's clients without their own messages: this program says what the user needs to know."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_LOGGERS = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "datasets", "fsspec")
_lock = Lock()
_levels: list[int] = []
"""The loggers' own levels, while at least one block keeps them from printing."""
_blocks = 0
"""How many such blocks there are, of all threads together."""


@contextmanager
def quiet_clients() -> Iterator[None]:
    """Keep the clients from printing requests, retries and fallbacks within the block."""
    with quiet_loggers(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Not enough free disk space")  # it becomes an error
        yield


@contextmanager
def quiet_loggers() -> Iterator[None]:
    """Keep the clients from logging within the block, although another thread may leave its own."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _blocks
    with _lock:
        if _blocks == 0:
            _levels[:] = [logging.getLogger(name).level for name in _LOGGERS]
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL)
        _blocks += 1


def _leave() -> None:
    global _blocks
    with _lock:
        _blocks -= 1
        if _blocks == 0:
            for name, level in zip(_LOGGERS, _levels, strict=True):
                logging.getLogger(name).setLevel(level)
