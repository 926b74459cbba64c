"""Question files in the JSON format of SQuAD v1.1: articles, paragraphs and their questions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from sparsead.errors import DataError
from sparsead.tasks.rows import is_blank, is_text, read_text, unique_keys

T = TypeVar("T")


def read_squad(path: Path) -> list[dict[str, Any]]:
    """Read the questions of a SQuAD v1.1 file.

    Args:
        path: the file; a byte order mark is skipped.

    Returns:
        One row per question with `id`, `title`, `context`, `question` and `answers`, which has the
        lists `text` and `answer_start`, the index of the answer's first character in the context.

    Raises:
        DataError: the file is not UTF-8 or not JSON, something in it is missing, blank or of the
            wrong type, two questions share an id, or an answer is not at its
            `answer_start`; the message names the place or the question.
    """
    return [
        row | {"answers": _answers(question, row["context"])} for question, row in _questions(path)
    ]


def read_questions(path: Path) -> list[dict[str, Any]]:
    """Read the questions of such a file without their answers, which may be missing."""
    return [row for _, row in _questions(path)]


def check_question_rows(
    place: str, rows: Iterable[Mapping[str, Any]], lines: Iterable[int] | None = None
) -> None:
    """Check questions that are rows with columns as those of SQuAD's files are checked.

    Args:
        place: the file, or the data set and its split, for messages.
        rows: the questions, with `QUESTION_COLUMNS`; `answers` has lists `text` and `answer_start`.
        lines: the line of each row; None numbers the rows, from 1.

    Raises:
        DataError: something is missing, blank or of the wrong type, two questions share an id, or
            an answer is not at its place.
    """
    numbers: dict[str, int] = {}
    for number, row in zip(lines or count(1), rows, strict=False):
        node = _Node(f"{place}:{number}", row)
        name, context = node.get("id", str), node.get("context", str)
        node.get("question", str)
        if name in numbers:
            raise DataError(f"{place}: two questions have the id {name!r}")
        numbers[name] = number
        answers = _Node(f"{node.place}: answers", row["answers"])
        texts, starts = answers.get("text", list), answers.get("answer_start", list)
        if not texts or len(texts) != len(starts):
            raise DataError(f"{node.place}: has no answer; SQuAD v1.1 has one at least")
        pairs = ({"text": t, "answer_start": s} for t, s in zip(texts, starts, strict=True))
        for pair in pairs:
            _answer(_Node(answers.place, pair), node, context)
    if not numbers:
        raise DataError(f"{place}: has no questions")


@dataclass(frozen=True)
class _Node:
    """A value of the file, and its place for error messages."""

    place: str
    value: Any

    def get(self, key: str, kind: type[T], *, blank: bool = False) -> T:
        value = self.value.get(key) if isinstance(self.value, dict) else None
        wrong = isinstance(value, bool) or (kind is str and not is_text(value))
        if kind is str and not wrong and not blank:
            wrong = is_blank(str(value))
        if not isinstance(value, kind) or wrong:
            raise DataError(f"{self.place}: has no {_KINDS[kind]} {key!r}")
        return value

    def children(self, key: str) -> list[_Node]:
        values: list[Any] = self.get(key, list)
        at = f"{self.place}: " if ": " not in self.place else f"{self.place}."
        return [_Node(f"{at}{key}[{number}]", value) for number, value in enumerate(values)]


_KINDS: dict[type, str] = {str: "text", int: "whole number", list: "list"}


def _questions(path: Path) -> list[tuple[_Node, dict[str, Any]]]:
    root = _Node(f"{path}", _json(path))
    found = [pair for article in root.children("data") for pair in _article(article)]
    if not found:
        raise DataError(f"{path}: has no questions")
    seen: set[str] = set()
    for _, row in found:
        if row["id"] in seen:
            raise DataError(f"{path}: two questions have the id {row['id']!r}")
        seen.add(row["id"])
    return found


def _article(article: _Node) -> Iterator[tuple[_Node, dict[str, Any]]]:
    title = article.value.get("title", "") if isinstance(article.value, dict) else ""
    for paragraph in article.children("paragraphs"):
        context = paragraph.get("context", str)
        for question in paragraph.children("qas"):
            row = {
                "id": question.get("id", str),
                "title": title if is_text(title) else "",
                "context": context,
                "question": question.get("question", str),
            }
            yield question, row


def _answers(question: _Node, context: str) -> dict[str, list[Any]]:
    answers = [_answer(answer, question, context) for answer in question.children("answers")]
    if not answers:
        raise DataError(f"{question.place}: has no answer; SQuAD v1.1 has one at least")
    return {
        "text": [text for text, _ in answers],
        "answer_start": [start for _, start in answers],
    }


def _answer(answer: _Node, question: _Node, context: str) -> tuple[str, int]:
    text, start = answer.get("text", str, blank=True), answer.get("answer_start", int)
    check_answer(f"{answer.place}: question {question.get('id', str)!r}", text, start, context)
    return text, start


def check_answer(place: str, text: str, start: int, context: str) -> None:
    """Refuse an answer that is blank, or that does not stand at its place in the context.

    Raises:
        DataError: the message begins with `place`.
    """
    if is_blank(text):
        raise DataError(f"{place}: the answer {text[:40]!r} is blank")
    if start < 0 or not context.startswith(text, start):
        raise DataError(
            f"{place}: the answer {text[:40]!r} does not stand at character {start} of its context"
        )


def _json(path: Path) -> Any:
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        raise DataError(f"{place}: is not JSON ({error.msg})") from error
    except RecursionError as error:
        raise DataError(f"{path}: is not JSON that can be read (nested too deep)") from error
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"{path}: is not JSON that can be read ({error})") from error
