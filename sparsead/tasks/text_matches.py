"""Whether a generated text gives the right answer: the same text, or the same number."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from sparsead.tasks.rows import is_blank

log = logging.getLogger(__name__)

_MINUS = r"(?:(?<![\w)\]])[-\u2212][$\u20ac\u00a3\u00a5]?)?"  # but not that of a difference
_SPACES = " \u00a0\u2009\u202f"
_NUMBERS: Mapping[str, re.Pattern[str]] = {
    "point": re.compile(
        rf"{_MINUS}(?:(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.,])\.\d+)"
    ),
    "comma": re.compile(
        rf"{_MINUS}(?:\d{{1,3}}(?:([.'\u2019{_SPACES}])\d{{3}})(?:\1\d{{3}})*(?!\d)|\d+)(?:,\d+)?"
    ),
}
"""Numbers by the name of the sign that stands before their decimals."""

_WRITTEN = re.compile(
    r"(?:(?<![\w.,])[.,])?"
    r"\d(?:(?:[.,'\u2019\u066b\u066c/]|[eE][+-]?)?\d|[ \u00a0\u202f]\d{3}(?!\d))*"
)
"""A number in any notation: 1.234,5 and 1 234,5 and 1'234.5, a fraction, or a power of ten."""


def find_answer(text: str, marker: str | None) -> str | None:
    """Return what follows the last `marker` in a text, without the space around it.

    Without a marker that is the whole text. None if the text does not have the marker, or if
    nothing that can be seen follows it: two texts that end there do not agree on an answer.
    """
    if marker is not None and marker not in text:
        return None
    answer = text if marker is None else text.rpartition(marker)[2]
    return None if is_blank(answer) else answer.strip()


def find_number(text: str, marker: str | None, decimal_mark: str = "point") -> Decimal | None:
    """Return the first number after the last `marker` in a text, or None if there is none.

    Without a marker it is the last number of the text. What stands between thousands is left out,
    and what stands before and after a number, such as a currency, does not matter.

    Args:
        text: the text.
        marker: what the number follows.
        decimal_mark: `point` reads numbers as English writes them: 1,234.5 is one number, but of
            1.234,5 the last is 5. `comma` reads 1.234,5 and 1 234,5 as one number.
    """
    number = _find_first_or_last(_NUMBERS[decimal_mark], text, marker)
    if number is None:
        return None
    whole, point, decimals = number.partition("." if decimal_mark == "point" else ",")
    digits = re.sub(r"[^\d-]", "", whole.replace("\u2212", "-"))
    return Decimal(f"{digits}.{decimals}" if point else digits)


def exact_match(prediction: str, reference: str, marker: str | None, _mark: str = "") -> float:
    """Return 1 if both have an answer and it is the same text, else 0."""
    answer = find_answer(prediction, marker)
    return float(answer is not None and answer == find_answer(reference, marker))


def number_match(
    prediction: str, reference: str, marker: str | None, decimal_mark: str = "point"
) -> float:
    """Return 1 if both have a number of the same value, such as 1,000 and 1000.0, else 0."""
    number = find_number(prediction, marker, decimal_mark)
    return float(number is not None and number == find_number(reference, marker, decimal_mark))


def warn_of_other_notations(
    texts: Sequence[str], marker: str | None, decimal_mark: str = "point"
) -> None:
    """Warn if `number_match` compares only a part of a number that is written in another notation.

    Args:
        texts: the true texts.
        marker: as for `find_number`.
        decimal_mark: as for `find_number`.
    """
    parts = []
    for text in texts:
        written = _find_first_or_last(_WRITTEN, text, marker)
        if written is not None and not _NUMBERS[decimal_mark].fullmatch(written):
            parts.append((find_number(text, marker, decimal_mark), written))
    if parts:
        english = decimal_mark == "point"
        as_written = "English writes them, such as 1,234.5" if english else "in 1.234,5"
        other = "; task=complete can read 1.234,5: task.decimal_mark=comma" if english else ""
        log.warning(
            "number_match reads numbers as %s: in %d of %d true texts it compares only a part, "
            "such as %s of %s%s",
            *(as_written, len(parts), len(texts), *parts[0], other),
        )


def _find_first_or_last(pattern: re.Pattern[str], text: str, marker: str | None) -> str | None:
    """Return the first match in what follows the marker, or without a marker the last one."""
    found = [match.group() for match in pattern.finditer(find_answer(text, marker) or "")]
    if not found:
        return None
    return found[-1 if marker is None else 0]
