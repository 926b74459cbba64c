"""Rows of a data file with their line numbers, and the error messages for bad values."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from sparsead.errors import DataError

_LARGEST = 2.0**127 * (2 - 2.0**-23)  # the largest float32, the dtype of labels
_EXACT = 2**53  # below it, a float writes every whole number exactly
_DIGITS = re.compile(r"[0-9]{1,18}")
_LONGEST_QUOTE = 40
"""Most characters of a value in an error message."""


class MissingColumnError(DataError):
    """The data lacks a column.

    Attributes:
        found: how many of the columns that were looked for there are.
    """

    def __init__(self, message: str, columns: Iterable[str], there: Container[str]) -> None:
        super().__init__(message)
        self.found = sum(column in there for column in columns)


@dataclass(frozen=True)
class Rows:
    """The rows of one file, or of one split of a data set on the hub.

    Args:
        path: the file, or the data set and its split.
        values: for each row a mapping from column to value.
        lines: the line at which each row begins, or the row's number; counted from 1.
        skipped: malformed lines that were left out, as is usual for this data set.
        names: the task's column → its name in the file, if the two differ.
        declared: column → the names of its classes in their order, if the data set declares them.
    """

    path: Path | str
    values: Sequence[dict[str, Any]]
    lines: Sequence[int]
    skipped: Sequence[int] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def column(self, name: str) -> list[Any]:
        """Return the values of a column."""
        return [row[name] for row in self.values]

    def error(self, row: int, column: str, reason: str) -> DataError:
        """Return an error whose message names file, line and column of a value."""
        name = self.names.get(column, column)
        return DataError(f"{self.path}:{self.lines[row]}: {name}: {reason}")

    def check_unique(self, column: str) -> None:
        """Check that no id in a column occurs twice; 1, 1.0 and "1" are the same id.

        Raises:
            DataError: one does, and the message names both lines; or a value can be no id.
        """
        first: dict[str, int] = {}
        for row in range(len(self.values)):
            name = self.id_of(row, column)
            if name in first:
                line, given = self.lines[first[name]], self.values[row][column]
                raise self.error(row, column, f"{quote_value(given)} is also the id of line {line}")
            first[name] = row

    def id_of(self, row: int, column: str) -> str:
        """Return the id of a row as text, a whole number like the name of a class.

        Raises:
            DataError: the value is neither a text nor a number.
        """
        value = self.values[row][column]
        if not is_id(value):
            raise self.error(row, column, f"{quote_value(value)} is not an id")
        return class_name(value)

    def texts(self, column: str) -> list[str]:
        """Return a column of text.

        Raises:
            DataError: a value is not a text.
        """
        return [self.text(row, column) for row in range(len(self.values))]

    def text(self, row: int, column: str) -> str:
        """Return the text of a row.

        Raises:
            DataError: the value is not a text.
        """
        value = self.values[row][column]
        if not is_text(value):
            raise self.error(row, column, f"{quote_value(value)} is not a text")
        return str(value)

    def class_names(self, column: str) -> list[str]:
        """Return the names of the classes in a column.

        Raises:
            DataError: a value is missing, is not a class, or is another spelling of a class that
                an earlier row has, such as `pos` and `pos ` or `1` and `1.0`.
        """
        seen: set[str] = set()
        first: dict[Any, tuple[str, int]] = {}
        for row, value in enumerate(self.column(column)):
            if value is None or (isinstance(value, str) and is_blank(value)):
                raise self.error(row, column, "has no label")
            if not _is_class(value):
                raise self.error(row, column, f"{quote_value(value)} is not a class")
            name = class_name(value)
            if name in seen:
                continue
            seen.add(name)
            known, at = first.setdefault(_meant(name), (name, row))
            if known != name:
                raise self.error(
                    row,
                    column,
                    f"{quote_value(name)} is {quote_value(known)} of line {self.lines[at]} in "
                    "another spelling; write both alike, or name every class in task.labels",
                )
        return [class_name(value) for value in self.column(column)]

    def classes(self, column: str, numbers: Mapping[str, int]) -> list[int]:
        """Return the numbers of the classes that a column names.

        Raises:
            DataError: a value is missing or not one of `numbers`.
        """
        for row, value in enumerate(self.column(column)):
            if value is None:
                raise self.error(row, column, "has no label")
            if class_name(value) not in numbers:
                reason = f"{quote_value(value)} is not one of {', '.join(numbers)}"
                raise self.error(row, column, f"{reason}{_hint(class_name(value), numbers)}")
        return [numbers[class_name(value)] for value in self.column(column)]

    def numbers(self, column: str) -> list[float]:
        """Return a column of finite numbers.

        Raises:
            DataError: a value is not a finite number.
        """
        return [self._number(row, column, value) for row, value in enumerate(self.column(column))]

    def _number(self, row: int, column: str, value: Any) -> float:
        try:
            number = math.nan if _is_no_number(value) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not abs(number) <= _LARGEST:
            raise self.error(row, column, f"{quote_value(value)} is not a finite number")
        return number


def is_text(value: Any) -> bool:
    """Tell whether a value is text that UTF-8 can encode; JSON can contain lone surrogates."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_blank(text: str) -> bool:
    """Tell whether a text has nothing to be seen: only spaces, or marks such as U+200F."""
    return all(character.isspace() or _is_unseen(character) for character in text)


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) == "Cf"


def is_id(value: Any) -> bool:
    """Tell whether a value can be an id: a text or a number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number or is_text(value)


def whole_number(value: Any) -> int | None:
    """Return a whole number from 0 on, or the one that a text of CSV or TSV writes; else None."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value if type(value) is int and value >= 0 else None


def _is_no_number(value: Any) -> bool:
    """Tell whether a value is a boolean or has underscores: Python takes both as numbers."""
    return isinstance(value, bool) or (isinstance(value, str) and "_" in value)


def _is_class(value: Any) -> bool:
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, float | Decimal):
        return math.isfinite(value)
    return not isinstance(value, list | dict | bytes)


def class_name(value: Any) -> str:
    """Return the name of a class; 1, 1.0, "1" and a 1 in a Parquet file are the same class."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | Decimal) and math.isfinite(value):
        whole = int(value)
        return str(whole) if whole == value and abs(whole) < _EXACT else str(value)
    return str(value)


def class_order(name: str) -> tuple[bool, Decimal, str]:
    """Return the key that sorts classes: numbers by their value, then other names as texts."""
    number = exact_number(name)
    return (number is None, number or Decimal(0), name)


def exact_number(text: str) -> Decimal | None:
    """Return the finite number that a text writes, or None.

    Underscores between digits, which Python allows, write no number in a data file.
    """
    try:
        number = Decimal("" if "_" in text else text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _meant(name: str) -> Decimal | str:
    """Return what the spellings of one class have in common.

    They are numbers of one value, with true as 1 and false as 0, or texts that differ only in case,
    in spaces, in marks that are not seen or in Unicode's form of a character.
    """
    seen = "".join(each for each in unicodedata.normalize("NFKC", name) if not _is_unseen(each))
    text = " ".join(seen.casefold().split())
    number = exact_number({"true": "1", "false": "0"}.get(text, text))
    return text if number is None else number


_YAML_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def _hint(name: str, classes: Iterable[str]) -> str:
    """Return a hint at the class that a name not among the classes was meant for, or nothing."""
    if _YAML_BOOLEANS.get(name.strip().lower(), "") in classes:
        return "; YAML reads no, yes, off and on as booleans: put them in quotes in task.labels"
    alike = [known for known in classes if _meant(known) == _meant(name)]
    return f"; did you mean {alike[0]}?" if alike else ""


def quote_value(value: Any) -> str:
    """Return the value's repr for an error message; a long one is truncated."""
    text = repr(value)
    if len(text) <= _LONGEST_QUOTE:
        return text
    return f"{text[:_LONGEST_QUOTE]}… ({len(text)} characters)"


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 file without its byte order mark.

    Raises:
        DataError: the file cannot be read, or is not UTF-8; the message names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        place = error.start - content.rfind(b"\n", 0, error.start)
        raise DataError(f"{path}:{line}: byte {place} is not UTF-8 ({error.reason})") from error


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text, which end with \n or \r\n.

    They end with \r where the text has no \n, except perhaps at its very end.
    """
    whole = text.removesuffix("\n")
    if "\n" not in whole:
        return whole.split("\r")
    return [line.removesuffix("\r") for line in text.split("\n")]


REPEATED_HEADER = "is the name of the column again; are these two files joined? Leave the line out"
"""Why a row that repeats the header is refused."""


def check_header(place: str, names: Sequence[str]) -> None:
    """Refuse columns of which two have one name: which of them is meant is not known.

    Raises:
        DataError: a name is there twice; the message begins with `place`.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{place}: the column {twice!r} is there twice")


def check_no_header(place: str, fields: Sequence[str], header: Sequence[str]) -> None:
    """Refuse a row that is the header again, as where two files were joined.

    Raises:
        DataError: it is; the message begins with `place`.
    """
    first, *others = fields
    if [first.removeprefix("\ufeff"), *others] == list(header):
        raise DataError(f"{place}: {header[0]}: {REPEATED_HEADER}")


def unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's pairs as a mapping: the `object_pairs_hook` of every JSON reader.

    Raises:
        DataError: a key is there twice.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"the key {twice!r} is there twice")
    return values
