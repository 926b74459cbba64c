"""Rows of a data file with their line numbers, and the error messages for bad values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsead.errors import DataError

_LARGEST = 2.0**127 * (2 - 2.0**-23)  # the largest float32, the dtype of labels


@dataclass(frozen=True)
class Rows:
    """The rows of one file.

    Args:
        path: the file.
        values: for each row a mapping from column to value.
        lines: the line at which each row begins, counted from 1.
        skipped: malformed lines that were left out, as is usual for this data set.
        names: the task's column → its name in the file, if the two differ.
    """

    path: Path
    values: Sequence[dict[str, Any]]
    lines: Sequence[int]
    skipped: Sequence[int] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> list[Any]:
        """Return the values of a column."""
        return [row[name] for row in self.values]

    def error(self, row: int, column: str, reason: str) -> DataError:
        """Return an error whose message names file, line and column of a value."""
        name = self.names.get(column, column)
        return DataError(f"{self.path}:{self.lines[row]}: {name}: {reason}")

    def check_unique(self, column: str) -> None:
        """Check that no value of a column occurs twice.

        Raises:
            DataError: a value does; the message names both lines.
        """
        first: dict[Any, int] = {}
        for row, value in enumerate(self.column(column)):
            if value in first:
                line = self.lines[first[value]]
                raise self.error(row, column, f"{quote_value(value)} is also the id of line {line}")
            first[value] = row

    def texts(self, column: str) -> list[str]:
        """Return a column of text.

        Raises:
            DataError: a value is not a text.
        """
        for row, value in enumerate(self.column(column)):
            if not is_text(value):
                raise self.error(row, column, f"{quote_value(value)} is not a text")
        return self.column(column)

    def class_names(self, column: str) -> list[str]:
        """Return the names of the classes in a column.

        Raises:
            DataError: a value is missing, or is not a class.
        """
        for row, value in enumerate(self.column(column)):
            if value is None or value == "":
                raise self.error(row, column, "has no label")
            if not _is_class(value):
                raise self.error(row, column, f"{quote_value(value)} is not a class")
        return [class_name(value) for value in self.column(column)]

    def classes(self, column: str, numbers: Mapping[str, int]) -> list[int]:
        """Return the numbers of the classes that a column names.

        Raises:
            DataError: a value is not one of `numbers`.
        """
        for row, value in enumerate(self.column(column)):
            if class_name(value) not in numbers:
                allowed = ", ".join(numbers)
                raise self.error(row, column, f"{quote_value(value)} is not one of {allowed}")
        return [numbers[class_name(value)] for value in self.column(column)]

    def numbers(self, column: str) -> list[float]:
        """Return a column of finite numbers.

        Raises:
            DataError: a value is not a finite number.
        """
        return [self._number(row, column, value) for row, value in enumerate(self.column(column))]

    def _number(self, row: int, column: str, value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
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


def _is_class(value: Any) -> bool:
    if isinstance(value, str):
        return is_text(value)
    return not isinstance(value, list | dict | bytes) and value == value  # nan is not


def class_name(value: Any) -> str:
    """Return the name of a class; 1, "1" and a 1 in a Parquet file are the same class."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def quote_value(value: Any, longest: int = 40) -> str:
    """Return the value's repr for an error message, truncated to `longest` characters."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"


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
