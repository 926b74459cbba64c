"""Runs that are being trained, and those that were interrupted: who they are, read from disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from typing_extensions import TypedDict

from sparsead.errors import ConfigError, RecordError, warn
from sparsead.runs.checked import find_checked
from sparsead.runs.claim import live_claim
from sparsead.runs.files import write_atomically
from sparsead.runs.result import Config, Hash, check_folder, check_names
from sparsead.runs.staging import list_unfinished

STARTED_FILE = "started.json"
"""A file in the folder of an unfinished run that says which run it is."""


class Started(TypedDict):
    """The content of that file."""

    identity: Hash
    config: Config


class Unfinished(NamedTuple):
    """An unfinished run: the folder that its record will have, its configuration and its state."""

    folder: Path
    config: Mapping[str, Any]
    state: Literal["running", "interrupted"]


def note_started(staging: Path, identity: str, config: Mapping[str, Any]) -> None:
    """Write which run a staging folder is of; it is removed when the run is recorded."""
    content = json.dumps({"identity": identity, "config": config}, indent=2)
    write_atomically(staging / STARTED_FILE, content + "\n")


def read_unfinished(outputs: Path) -> Iterator[Unfinished]:
    """Yield each run that a process has begun and not finished, by name.

    A folder whose file cannot be used, because it is damaged or of another run, gives a warning.
    """
    for folder, staging in list_unfinished(outputs / "runs"):
        started = find_checked(staging / STARTED_FILE, Started)
        if started is None:
            continue
        try:
            check_names(started["config"])
            check_folder(folder, started)
        except (ConfigError, RecordError) as error:
            warn(f"{staging / STARTED_FILE}: cannot be used ({error}); it is left out")
            continue
        state: Literal["running", "interrupted"] = (
            "interrupted" if live_claim(folder) is None else "running"
        )
        yield Unfinished(folder, started["config"], state)
