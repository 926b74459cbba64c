"""The errors that a user can fix: the command line prints one line and exits with status 2.

`display.py` shows text that comes from files safely, in these messages and elsewhere; `hints.py`
finds the names that were probably meant.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from functools import cache
from typing import NoReturn

from sparsead.errors.display import describe_lost_output, tell
from sparsead.errors.hints import nearest_choice, nearest_keys


class SparseadError(Exception):
    """The user's input cannot be used; the message is one line that says what to do."""


class ConfigError(SparseadError):
    """A configuration value is unknown, of the wrong type or out of range."""


class DataError(SparseadError):
    """A data file is missing or malformed; the message names the file and the line."""


class SourceError(SparseadError):
    """Weights or data cannot be fetched or do not match their checksum."""


class DeviceError(SparseadError):
    """The requested device or precision is not available here, or its memory is too small."""


class PruningError(SparseadError):
    """The scores or the budget do not determine a meaningful mask."""


class TrainingStopped(SparseadError):  # noqa: N818
    """A `Watch` stopped the training early; its checkpoints are kept."""


class RecordError(SparseadError):
    """A run's record cannot be read or written."""


class RunFailedError(SparseadError):
    """A run of a sweep failed; the failure is recorded, and the other runs go on."""


class AlreadyRecordedError(RecordError):
    """Another process has recorded this run in the meantime."""


class ClaimedError(RecordError):
    """Another live process is working on this run."""


class TakenOverError(ClaimedError):
    """Another process has taken over this run while this process was working on it."""


class StorageError(RecordError):
    """The outputs folder is full, not writable or gone, so that every other run would fail too."""


def fail(message: str) -> NoReturn:
    """Print one line for the user and exit with status 2."""
    tell(message)
    raise SystemExit(2)


def fail_if_output_is_lost() -> None:
    """End as `fail` does if a part of what was printed could not be written."""
    if lost := describe_lost_output():
        fail(lost)


def describe_file_error(error: BaseException) -> str | None:
    """Return the file and the reason of an OSError, in one line; None if it names no file."""
    if not isinstance(error, OSError) or error.filename is None:
        return None
    return f"{error.filename}: {error.strerror}"


def refuse_windows() -> None:
    """Refuse to run on Windows, where claims, signals and the file system behave otherwise.

    Raises:
        ConfigError: this is Windows, but not its subsystem for Linux.
    """
    if platform.system() == "Windows":
        raise ConfigError(
            "sparsead runs on Linux and macOS; on Windows, run it in the subsystem for Linux "
            "(wsl --install)"
        )


@cache
def warn(message: str) -> None:
    """Print one line for the user and go on; the same line is printed only once."""
    tell(message)


def unknown_key(key: str, allowed: Iterable[str], everywhere: Iterable[str] = ()) -> str:
    """Return the message that `key` does not exist; it suggests the keys that were probably meant.

    Args:
        key: the typed key, such as `protocol.lr`.
        allowed: the names of the keys in the group in which it was looked for.
        everywhere: the keys of all groups, with their groups, of which one may have been meant;
            none if these are only the keys of its own group.
    """
    group = key.rpartition(".")[0]
    choices = sorted(allowed)
    near = nearest_keys(key, everywhere or [f"{group}.{c}" if group else c for c in choices])
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    allowed_keys = f" (allowed: {', '.join(choices)})" if choices else ""
    return f"{key}: no such key{hint}{allowed_keys}"


def unknown(key: str, value: object, allowed: Iterable[str]) -> str:
    """Return the message that `key` has no choice `value`; it suggests the most similar choice."""
    choices = sorted(allowed)
    near = nearest_choice(str(value), choices)
    hint = f"; did you mean {_with_spaces(near)}?" if near else ""
    listed = ", ".join(map(_with_spaces, choices))
    return f"{key}={_with_spaces(str(value))}: no such choice{hint} (allowed: {listed})"


def _with_spaces(name: str) -> str:
    """Return a name in quotes where one line would hide its spaces, such as ` label` of a CSV."""
    return name if name == " ".join(name.split()) else repr(name)


def wrong_type(key: str, value: object, annotation: str) -> str:
    """Return the message that `value` does not have the annotated type, such as `int | None`."""
    annotated = annotation.split(" | ")
    kinds = [_KINDS.get(kind, kind) for kind in annotated]
    hint = ""
    elements = value if isinstance(value, list) else [value]
    if "str" in annotation and any(isinstance(element, bool) for element in elements):
        hint = "; YAML reads no, yes, off and on as true or false: put it in quotes"
    elif _TEXTS & {*annotated} and _has_number(elements):
        hint = f"; a number that is meant as a text needs quotes, as in \"{key}='1'\""
    return f"{key}={_as_typed(value)}: must be {' or '.join(kinds)}{hint}"


def _as_typed(value: object) -> str:
    """Return a value as a user types it: null and true, where Python says None and True."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _has_number(elements: Iterable[object]) -> bool:
    return any(type(element) in (int, float) for element in elements)


_TEXTS = {"str", "Path", "collections.abc.Sequence[str]"}
"""Types of texts that a number is not taken for; in a `list[str]` numbers become texts."""

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "Path": "a path",
    "None": "null",
    "list[str]": "a list of texts",
    "list[int]": "a list of whole numbers",
    "collections.abc.Sequence[str]": "a list of texts",
    "collections.abc.Sequence[typing.Any]": "a list",
    "list[float]": "a list of numbers",
    "list[dict[str, Any]]": "a list of mappings",
    "dict[str, float]": "a mapping of numbers",
    "dict[str, str]": "a mapping",
    "dict[str, Any]": "a mapping",
}
