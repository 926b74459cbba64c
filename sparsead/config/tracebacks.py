"""Show tracebacks only to users who set HYDRA_FULL_ERROR=1; all others get one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_FULL_ERROR = "HYDRA_FULL_ERROR"
_ASKED = "SPARSEAD_FULL_ERROR"
"""Keeps the user's own value of HYDRA_FULL_ERROR while this program sets it to make Hydra raise."""


def wants_traceback() -> bool:
    """Tell whether the user has asked for tracebacks."""
    return os.environ.get(_ASKED, os.environ.get(_FULL_ERROR)) == "1"


@contextmanager
def let_hydra_raise() -> Iterator[None]:
    """Make Hydra raise its errors; by default it prints a traceback or exits with status 1."""
    before = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"
    os.environ[_ASKED] = before or ""
    try:
        yield
    finally:
        del os.environ[_FULL_ERROR], os.environ[_ASKED]
        os.environ.update({} if before is None else {_FULL_ERROR: before})
