"""The state of a run: done, failed, running or missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsead.errors import RecordError, StorageError, warn
from sparsead.runs.claim import live_claim
from sparsead.runs.failure import find_failure
from sparsead.runs.record import RunRecord, find_record


@dataclass(frozen=True)
class Done:
    """The run is recorded."""

    record: RunRecord


@dataclass(frozen=True)
class Failed:
    """The last attempt failed, or its record is damaged; `failure` has at least the error."""

    failure: dict[str, Any]


@dataclass(frozen=True)
class Running:
    """A live process has claimed the run."""

    host: str
    pid: int


@dataclass(frozen=True)
class Missing:
    """The run has no record, live claim or failure; a checkpoint of it may exist."""


State = Done | Failed | Running | Missing


def read_state(folder: Path) -> State:
    """Return the state of the run with the record `folder`, read only from the run's files."""
    try:
        record = find_record(folder)
    except StorageError:
        raise
    except RecordError as error:
        warn(f"{error}; it is left out")
        return Failed({"error": f"RecordError: {error}"})
    if record is not None:
        return Done(record)
    claim = live_claim(folder)
    if claim is not None:
        return Running(claim.host, claim.pid)
    failure = find_failure(folder)
    return Missing() if failure is None else Failed(failure)


def is_damaged(folder: Path) -> bool:
    """Tell whether there is a record that cannot be read: it has to be replaced."""
    return folder.exists() and isinstance(read_state(folder), Failed)
