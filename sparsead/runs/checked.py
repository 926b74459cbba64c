"""The one reader of the JSON files that this program writes: every value is checked by its type.

Somebody else may have written or edited such a file, and a disk may have damaged it. What does not
have the declared type is refused with one line that names the file, the key and the value. The
types are `TypedDict`s, which stand beside the code that writes the file; keys that they do not name
are left alone, so that a later version may add some.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from collections.abc import Hashable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from sparsead.errors import warn
from sparsead.runs.files import check_readable, write_atomically

T = TypeVar("T")

_DIGEST_KEY = "sha256"
_DIGEST = f'{{"{_DIGEST_KEY}": "'
_DIGEST_LENGTH = 64


def find_checked(path: Path, schema: type[T]) -> T | None:
    """Return the JSON object in a file that may be missing; None where it is missing or damaged.

    A damaged file is named in a warning.

    Args:
        path: the file.
        schema: a `TypedDict`.
    """
    try:
        return check_type(parse_file(path), schema) if path.is_file() else None
    except (OSError, ValueError) as error:
        warn(f"{path}: cannot be used ({error}); it is left out")
        return None


def parse_file(path: Path) -> object:
    """Return the value in a JSON file.

    Raises:
        ValueError: the file is missing or is not JSON; the message says only why.
    """
    return _parse(_read(path))


def parse_unaltered(path: Path) -> object:
    """Return the value in a JSON file, without its checksum if it has one.

    Raises:
        ValueError: the file is missing, is not JSON, or was altered; the message says only why.
    """
    text = _read(path)
    values = _parse(text)
    if isinstance(values, dict) and _DIGEST_KEY in values:
        _verified(text)
        del values[_DIGEST_KEY]
    return values


def check_type(values: object, schema: type[T]) -> T:
    """Return `values` if each of them has the type that `schema` declares.

    Args:
        values: plain values, as JSON gives them.
        schema: a `TypedDict` or another type that pydantic knows.

    Raises:
        ValueError: a value is missing or of another type; the message names it.
    """
    try:
        _adapter(cast(Hashable, schema)).validate_python(values, strict=True)
    except ValidationError as error:
        raise ValueError(_describe(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return cast(T, values)


def write_checksummed(path: Path, values: Mapping[str, Any], *, indent: int | None = None) -> None:
    """Write a JSON object atomically, with the SHA-256 of its other keys as its first key.

    Raises:
        OSError: the file cannot be written.
    """
    body = json.dumps(values, indent=indent)
    rest = body[1:] if body == "{}" else f",{body[1:]}"
    write_atomically(path, f'{_DIGEST}{_digest(body)}"{rest}\n')


def find_checksummed(path: Path, schema: type[T]) -> T | None:
    """Return what `write_checksummed` wrote; None where the file is missing or was altered.

    An altered file, and one in the form of another version, is named in a warning, because what it
    holds has to be made anew. A path that cannot be looked at counts as missing: the outputs folder
    itself is wrong then.
    """
    with suppress(OSError):
        return _read_checksummed(path, schema) if path.is_file() else None
    return None


def _read_checksummed(path: Path, schema: type[T]) -> T | None:
    try:
        values = _parse(_verified(_read(path)))
    except ValueError as error:
        warn(f"{path}: was altered ({error}); it is made anew")
        return None
    try:
        return check_type(values, schema)
    except ValueError as error:
        warn(f"{path}: is of another version of sparsead ({error}); it is made anew")
        return None


def _verified(text: str) -> str:
    """Return the text of a checksummed file without its checksum, if that is right."""
    body = "{" + text[len(_DIGEST) + _DIGEST_LENGTH + 1 :].rstrip("\n").removeprefix(",")
    if not text.startswith(f'{_DIGEST}{_digest(body)}"'):
        raise ValueError("its checksum does not match")
    return body


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> str:
    try:
        check_readable(path)
        return path.read_text("utf-8")
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error


def _parse(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:20]} is larger than any number of the computer")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


@cache
def _adapter(schema: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, schema))


def _describe(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"no {key!r}"
    wanted = first["msg"].replace("Input should be", "must be")
    return f"{key or 'the whole'}={reprlib.repr(first['input'])}: {wanted}"
