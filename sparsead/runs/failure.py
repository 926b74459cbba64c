"""Records of failed runs: the error and its traceback, stored in files beside the runs' records."""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from sparsead.errors import ConfigError, RecordError, warn
from sparsead.runs.checked import check_type, parse_file
from sparsead.runs.files import is_folder_name, write_atomically
from sparsead.runs.result import Config, Hash, check_folder, check_names
from sparsead.runs.secrets import hide_secrets

_PREFIX = "failed-"


class Failure(TypedDict):
    """The content of a failure's file."""

    identity: Hash
    error: str
    config: Config
    traceback: NotRequired[str]
    command: NotRequired[list[str]]
    host: NotRequired[str]
    pid: NotRequired[int]
    time: NotRequired[str]


def record_failure(
    folder: Path, error: BaseException, *, identity: str, config: Mapping[str, Any]
) -> Path:
    """Record why a run failed, and replace the record of an earlier failure of the same run.

    Tokens, keys and passwords are not written; see `hide_secrets`.

    Args:
        folder: folder that the run's record would have.
        error: the exception that ended the run.
        identity: the run's identity.
        config: the run's configuration as plain JSON values.

    Raises:
        OSError: the file cannot be written.
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
    write_atomically(path, json.dumps(hide_secrets(failure), indent=2) + "\n")
    return path


def failure_file(folder: Path) -> Path:
    """Return the path of the file that records a run's failure."""
    return folder.with_name(f"{_PREFIX}{folder.name}.json")


def find_failure(folder: Path) -> dict[str, Any] | None:
    """Return the recorded failure of the run with the record `folder`, or None if there is none.

    A file that cannot be used, because it is damaged or of another run, only gives a warning.
    """
    if not failure_file(folder).is_file():
        return None
    try:
        return read_failure(folder)
    except RecordError as error:
        warn(f"{error}; it is left out")
        return None


def read_failure(folder: Path) -> dict[str, Any]:
    """Return the recorded failure of the run with the record `folder`.

    Raises:
        RecordError: the file is missing, damaged or of another run.
    """
    file = failure_file(folder)
    try:
        failure = check_type(parse_file(file), Failure)
        check_names(failure["config"])
        check_folder(folder, failure)
    except (OSError, ValueError, ConfigError, RecordError) as error:
        raise RecordError(f"{file}: cannot be used ({error})") from error
    return dict(failure)


def run_of_failure(file: Path) -> str:
    """Return the name of the run's folder to which the file of a failure belongs."""
    return file.stem.removeprefix(_PREFIX)


def list_failed(outputs: Path) -> list[Path]:
    """Return the folders that the records of the failed runs would have, by name."""
    files = sorted((outputs / "runs").glob(f"{_PREFIX}*.json"))
    names = [run_of_failure(file) for file in files]
    return [outputs / "runs" / name for name in names if is_folder_name(name)]


def read_failures(outputs: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield each failed run: the folder that its record would have, and the failure."""
    for folder in list_failed(outputs):
        if failure := find_failure(folder):
            yield folder, failure
