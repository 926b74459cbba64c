"""The errors a user can mend: each is one line, and the command line exits with status 2."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NoReturn


class SparseadError(Exception):
    """Something the user gave cannot be used; the message is one line that says what to do."""


class ConfigError(SparseadError):
    """A configuration value is unknown, of the wrong type or out of range."""


class DataError(SparseadError):
    """A data file is missing or malformed; the message names the file and the line."""


class SourceError(SparseadError):
    """Weights or data cannot be fetched or do not match their checksum."""


class DeviceError(SparseadError):
    """The device or the precision that was asked for is not to be had here."""


class PruningError(SparseadError):
    """Scores or budget do not determine a mask that means anything."""


class TrainingStopped(SparseadError):  # noqa: N818
    """Whoever watches a training ended it; what it has done so far is kept."""


class RecordError(SparseadError):
    """A run's record cannot be read or written."""


class AlreadyRecordedError(RecordError):
    """Another process finished the very run that this one was about to do."""


class ClaimedError(RecordError):
    """Another process is at this run."""


class StorageError(RecordError):
    """The outputs folder is full, read-only or not ours: no other run would fare better."""


def fail(message: str) -> NoReturn:
    """Print one line for the user and exit with status 2."""
    sys.stderr.write(f"sparsead: {message}\n")
    raise SystemExit(2)


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """Say that there is no such key, and which of its neighbours is nearest."""
    group, _, name = key.rpartition(".")
    choices = sorted(allowed)
    near = get_close_matches(name, choices, n=1, cutoff=0.4)
    hint = f"; did you mean {f'{group}.' if group else ''}{near[0]}?" if near else ""
    return f"{key}: no such key{hint} (allowed: {', '.join(choices)})"


def unknown(key: str, value: object, allowed: Iterable[str]) -> str:
    """Say that `value` is no choice for `key`, which choice is nearest, and which there are."""
    choices = sorted(allowed)
    near = get_close_matches(str(value), choices, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{key}={value}: no such choice{hint} (allowed: {', '.join(choices)})"
