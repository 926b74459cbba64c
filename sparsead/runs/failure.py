"""Failed runs: why, with the traceback, beside the records and never in their place."""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sparsead.runs.files import read_json, write_atomically

_PREFIX = "failed-"


def record_failure(
    folder: Path, error: BaseException, *, identity: str, config: Mapping[str, Any]
) -> Path:
    """Write down why a run failed, in place of any earlier failure of it.

    Args:
        folder: that the run's record would have.
        error: what the run ended with.
        identity: of the run.
        config: of the run, in plain values.

    Raises:
        OSError: it cannot be written.
    """
    failure = {
        "identity": identity,
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "config": config,
        "command": sys.argv,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = failure_file(folder)
    write_atomically(path, json.dumps(failure, indent=2) + "\n")
    return path


def failure_file(folder: Path) -> Path:
    """Return the file of a run's failure."""
    return folder.with_name(f"{_PREFIX}{folder.name}.json")


def find_failure(folder: Path) -> dict[str, Any] | None:
    """Return the failure of the run whose record would be `folder`, if its last attempt failed."""
    return read_json(failure_file(folder)) or None


def read_failures(outputs: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each failed run: the folder that its record would have, and the failure."""
    for file in sorted((outputs / "runs").glob(f"{_PREFIX}*.json")):
        folder = file.with_name(file.stem.removeprefix(_PREFIX))
        if failure := find_failure(folder):
            yield folder, failure
