"""The hub's clients without their own messages: this program says what the user needs to know."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "datasets", "fsspec")


@contextmanager
def quiet_clients() -> Iterator[None]:
    """Keep the clients from printing requests, retries and fallbacks within the block."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Not enough free disk space")  # it becomes an error
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
