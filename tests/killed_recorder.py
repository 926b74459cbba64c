"""Record a run and end, as if killed, before the n-th system call that changes a file.

Arguments: the folder of the run's record, its score, and n. The exit status is 9 if it was killed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from sparsead.runs.record import write_result
from sparsead.runs.staging import staged
from synthetic import plain_result

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


if __name__ == "__main__":
    kill_before(int(sys.argv[3]))
    with staged(Path(sys.argv[1]), replace=True) as staging:
        write_result(staging, plain_result(scores={"accuracy": float(sys.argv[2])}), "")
