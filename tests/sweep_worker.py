"""A worker on a table whose runs take a tenth of a second, to be killed at any time."""

from __future__ import annotations

import random
import sys
import time

from sparsead.runs.record import write_result
from sparsead.runs.request import RunRequest
from sparsead.runs.staging import staged
from sparsead.tables.cells import list_cells
from sparsead.tables.files import load_table
from sparsead.tables.sweep import run_cells
from synthetic import synthetic_result

SECONDS = 0.08


def execute(request: RunRequest) -> None:
    with staged(request.folder) as staging:
        for step in ("checkpoint-1", "checkpoint-2"):
            (staging / step).mkdir(exist_ok=True)
            time.sleep(random.uniform(0, SECONDS))
        write_result(staging, synthetic_result(request), "")
        for step in ("checkpoint-1", "checkpoint-2"):
            (staging / step).rmdir()


if __name__ == "__main__":
    wanted = list_cells(load_table(sys.argv[1], sys.argv[2:]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    run_cells(wanted, execute, tell=lambda *_: None)
