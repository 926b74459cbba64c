"""The errors a user can mend: each is one line, and the command line exits with status 2."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
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


_MEANT = {"gpu": "cuda"}
"""What users call a choice by another name, where spelling would suggest a wrong one."""


def fail(message: str) -> NoReturn:
    """Print one line for the user and exit with status 2."""
    sys.stderr.write(f"sparsead: {message}\n")
    raise SystemExit(2)


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """Say that there is no such key, and which of its neighbours is nearest."""
    group, _, name = key.rpartition(".")
    choices = sorted(allowed)
    near = _nearest(name, choices)
    hint = f"; did you mean {f'{group}.' if group else ''}{near}?" if near else ""
    return f"{key}: no such key{hint} (allowed: {', '.join(choices)})"


def unknown(key: str, value: object, allowed: Iterable[str]) -> str:
    """Say that `value` is no choice for `key`, which choice is nearest, and which there are."""
    choices = sorted(allowed)
    near = _nearest(str(value), choices)
    hint = f"; did you mean {near}?" if near else ""
    return f"{key}={value}: no such choice{hint} (allowed: {', '.join(choices)})"


def wrong_type(key: str, value: object, annotation: str) -> str:
    """Say that `value` does not fit the annotation, such as `int | None`, of the key `key`."""
    kinds = [_KINDS.get(kind, kind) for kind in annotation.split(" | ")]
    return f"{key}={value}: must be {' or '.join(kinds)}"


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "Path": "a path",
    "None": "null",
    "list[str]": "a list",
    "list[float]": "a list of numbers",
    "list[dict[str, Any]]": "a list of mappings",
    "dict[str, float]": "a mapping of numbers",
    "dict[str, str]": "a mapping",
    "dict[str, Any]": "a mapping",
}


def _nearest(name: str, choices: Sequence[str]) -> str | None:
    """Return the choice that was meant: one that begins so, else one that is spelt alike."""
    if _MEANT.get(name) in choices:
        return _MEANT[name]
    begin = [choice for choice in choices if name and choice.startswith(name)]
    near = begin or get_close_matches(name, choices, n=1, cutoff=0.4)
    return near[0] if near else None
