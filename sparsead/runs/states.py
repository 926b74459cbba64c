"""Where a run stands: done, failed, running or missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsead.runs.claim import live_claim
from sparsead.runs.failure import find_failure
from sparsead.runs.record import RunRecord, find_record


@dataclass(frozen=True)
class Done:
    """The run is recorded."""

    record: RunRecord


@dataclass(frozen=True)
class Failed:
    """The last attempt failed; `failure` has error, traceback, config, host and time."""

    failure: dict[str, Any]


@dataclass(frozen=True)
class Running:
    """A live process holds the run's claim."""

    host: str
    pid: int


@dataclass(frozen=True)
class Missing:
    """Nothing is known of the run but, possibly, a checkpoint of an interrupted attempt."""


State = Done | Failed | Running | Missing


def read_state(folder: Path) -> State:
    """Return where the run stands whose record is, or will be, `folder`; from its files alone."""
    record = find_record(folder)
    if record is not None:
        return Done(record)
    claim = live_claim(folder)
    if claim is not None:
        return Running(claim.host, claim.pid)
    failure = find_failure(folder)
    return Missing() if failure is None else Failed(failure)
