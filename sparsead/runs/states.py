"""Where a run stands: done, failed, running or missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sparsead.config import RunSpec
from sparsead.runs.record import RunRecord


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


def run_state(spec: RunSpec) -> State:
    """Return where the run stands, from its files alone."""
    raise NotImplementedError
