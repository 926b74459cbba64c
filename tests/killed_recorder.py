"""Record a run and end, as if killed, before the n-th system call that changes a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparsead.runs.record import write_result
from sparsead.runs.staging import staged

CALLS = ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync")


def kill_before(number: int) -> None:
    calls = iter(range(1, 10_000))

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def count(*args: object, **kwargs: object) -> object:
            if next(calls) == number:
                os._exit(9)
            return call(*args, **kwargs)

        return count

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def record(_pipe: object, folder: Path, result: dict[str, Any], number: int) -> None:
    """Record a run with this result; the exit status is 9 if it was killed before that call."""
    kill_before(number)
    with staged(folder, replace=True) as staging:
        write_result(staging, result, "")
