"""Whether a generated text gives the right answer: the same text, or the same number."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from decimal import Decimal

log = logging.getLogger(__name__)

_NUMBER = re.compile(
    r"(?:(?<![\w)\]])[-\u2212])?"  # a minus sign, but not that of a difference
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
)

_WRITTEN = re.compile(
    r"\d(?:(?:[.,'\u2019\u066b\u066c/]|[eE][+-]?)?\d|[ \u00a0\u202f]\d{3}(?!\d))*"
)
"""A number in any notation: 1.234,5 and 1 234,5 and 1'234.5, a fraction, or a power of ten."""


def find_answer(text: str, marker: str | None) -> str | None:
    """Return what follows the last `marker` in a text, without the space around it.

    Without a marker that is the whole text; None if the text does not have the marker.
    """
    if marker is None:
        return text.strip()
    _, found, answer = text.rpartition(marker)
    return answer.strip() if found else None


def find_number(text: str, marker: str | None) -> Decimal | None:
    """Return the first number after the last `marker` in a text, or None if there is none.

    Without a marker it is the last number of the text. Commas between thousands are left out, and
    what stands before and after a number, such as a currency, does not matter. Numbers are read as
    English writes them: 1,234.5 is one number, but of 1.234,5 the last is 5.
    """
    answer = find_answer(text, marker)
    found = _NUMBER.findall(answer) if answer else []
    if not found:
        return None
    number: str = found[-1 if marker is None else 0]
    return Decimal(number.replace(",", "").replace("\u2212", "-"))


def exact_match(prediction: str, reference: str, marker: str | None) -> float:
    """Return 1 if both have an answer and it is the same text, else 0."""
    answer = find_answer(prediction, marker)
    return float(answer is not None and answer == find_answer(reference, marker))


def number_match(prediction: str, reference: str, marker: str | None) -> float:
    """Return 1 if both have a number of the same value, such as 1,000 and 1000.0, else 0."""
    number = find_number(prediction, marker)
    return float(number is not None and number == find_number(reference, marker))


def warn_of_other_notations(texts: Sequence[str], marker: str | None) -> None:
    """Warn if `number_match` compares a part of a number alone: English does not write it so.

    Args:
        texts: the true texts.
        marker: as for `find_number`.
    """
    found = [(text, find_number(text, marker), _find_written(text, marker)) for text in texts]
    parts = [each for each in found if each[2] is not None and not _NUMBER.fullmatch(each[2])]
    if parts:
        _, number, written = parts[0]
        log.warning(
            "number_match reads numbers as English writes them, such as 1,234.5: in %d of %d true "
            "texts it compares a part alone, such as %s of %s",
            len(parts),
            len(texts),
            number,
            written,
        )


def _find_written(text: str, marker: str | None) -> str | None:
    answer = find_answer(text, marker)
    found = _WRITTEN.findall(answer) if answer else []
    return found[-1 if marker is None else 0] if found else None
