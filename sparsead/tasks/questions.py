"""The questions of COPA, MultiRC and ReCoRD with their candidates, from the hub's rows or files.

Without `labelled` they are new rows, of which neither the labels nor the answers are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress, groupby
from typing import Any, TypedDict

from sparsead.errors import DataError
from sparsead.tasks.rows import Rows, class_name, is_blank, is_id, is_text, quote_value

_ASKED = {"cause": "What was the cause?", "effect": "What happened as a result?"}
_FIRST, _SECOND = ("0", "choice1"), ("1", "choice2")
_RIGHT, _WRONG = ("1", "True", "true"), ("0", "False", "false")
GAP = "@placeholder"


class Question(TypedDict):
    """A question and its candidates.

    Attributes:
        row: the number of the row that it is in, from 0.
        id: differs for every question of a split.
        text: what every candidate is judged by.
        candidates: the candidates, at least one.
        statements: for each of them the text that is judged: itself, or a sentence with it.
        right: for each of them whether it is right; false in new rows.
        answers: the right answers, which need not be among the candidates; none in new rows.
    """

    row: int
    id: str
    text: str
    candidates: list[str]
    statements: list[str]
    right: list[bool]
    answers: list[str]


def copa_questions(rows: Rows, *, labelled: bool = True) -> list[Question]:
    """Return the questions of COPA: the premise with what is asked about it, and two choices.

    Raises:
        DataError: a text or the label is missing, or two questions have one `idx`.
    """
    if labelled:
        rows.check_unique("idx")
    found: list[Question] = []
    for number, row in enumerate(rows.values):
        asked = rows.text(number, "question")
        if asked not in _ASKED:
            reason = f"{quote_value(asked)} is not one of {', '.join(_ASKED)}"
            raise rows.error(number, "question", reason)
        choices = [rows.text(number, "choice1"), rows.text(number, "choice2")]
        right = [False, False]
        if labelled:
            second = _is_one_of(rows, number, row["label"], _SECOND, _FIRST)
            right = [not second, second]
        found.append(
            Question(
                row=number,
                id=rows.id_of(number, "idx") if labelled else str(number),
                text=f"{rows.text(number, 'premise')} {_ASKED[asked]}",
                candidates=choices,
                statements=choices,
                right=right,
                answers=list(compress(choices, right)),
            )
        )
    return found


def multirc_questions(rows: Rows, *, nested: bool, labelled: bool = True) -> list[Question]:
    """Return the questions of MultiRC: the paragraph with the question, and the answers.

    Args:
        rows: of the hub, one for each answer; or of a file, one for each paragraph.
        nested: whether they are those of a file.
        labelled: whether they say which answers are right. New rows of the hub's form, which have
            no ids, are one question as long as the paragraph and the question stay the same.

    Raises:
        DataError: a text or a label is missing or of the wrong type, or two questions have one id.
    """
    answers = _nested_answers(rows) if nested else _flat_answers(rows, labelled)
    grouped = (list(each) for _, each in groupby(answers, lambda answer: answer["id"]))
    return _unique(rows, [_multirc(rows, each, labelled) for each in grouped])


def _multirc(rows: Rows, answers: Sequence[Mapping[str, Any]], labelled: bool) -> Question:
    first = answers[0]
    for answer in answers:
        if any(answer[part] != first[part] for part in ("paragraph", "question")):
            reason = f"two questions have the id {answer['id']!r}"
            raise rows.error(answer["row"], "question", reason)
    candidates = [answer["answer"] for answer in answers]
    right = [labelled and _is_one_of(rows, a["row"], a["label"], _RIGHT, _WRONG) for a in answers]
    return Question(
        row=first["row"],
        id=first["id"],
        text=f"{first['paragraph']} {first['question']}",
        candidates=candidates,
        statements=candidates,
        right=right,
        answers=list(compress(candidates, right)),
    )


def _flat_answers(rows: Rows, labelled: bool) -> Iterator[dict[str, Any]]:
    asked, first = ("", ""), 0
    for number, row in enumerate(rows.values):
        texts = {name: rows.text(number, name) for name in ("paragraph", "question", "answer")}
        if (texts["paragraph"], texts["question"]) != asked:
            asked, first = (texts["paragraph"], texts["question"]), number
        name = _join_ids(rows, number, "idx.paragraph", "idx.question") if labelled else str(first)
        yield {**texts, "id": name, "row": number, "label": row.get("label")}


def _nested_answers(rows: Rows) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows.values):
        paragraph = rows.text(number, "passage.text")
        for asked in _objects(rows, number, "passage.questions", row["passage.questions"]):
            question = _text(rows, number, "question", asked.get("question"))
            answers = _objects(rows, number, "answers", asked.get("answers"))
            if not answers:
                raise rows.error(number, "answers", "there are none")
            name = f"{rows.id_of(number, 'idx')}-{_inner_id(rows, number, asked.get('idx'))}"
            for answer in answers:
                yield {
                    "paragraph": paragraph,
                    "question": question,
                    "answer": _text(rows, number, "text", answer.get("text")),
                    "id": name,
                    "row": number,
                    "label": answer.get("label"),
                }


def record_questions(rows: Rows, *, nested: bool, labelled: bool = True) -> list[Question]:
    """Return the questions of ReCoRD: the article, and the statement with each entity in its gap.

    An entity that occurs several times is one candidate.

    Args:
        rows: of the hub, one for each question; or of a file, one for each article.
        nested: whether they are those of a file.
        labelled: whether they say the answers.

    Raises:
        DataError: a text, an entity or an answer is missing or of the wrong type, the statement has
            no gap, or two questions have one id.
    """
    found = []
    read = _nested_statements if nested else _flat_statements
    for asked in read(rows, labelled):
        number = asked["row"]
        if GAP not in asked["query"]:
            raise rows.error(number, "query", f"{quote_value(asked['query'])} has no {GAP}")
        for name in ("entities", "answers") if labelled else ("entities",):
            if not asked[name]:
                raise rows.error(number, name, "there are none")
            if any(map(is_blank, asked[name])):
                raise rows.error(number, name, "one of them is blank")
        entities = list(dict.fromkeys(asked["entities"]))
        question = Question(
            row=number,
            id=asked["id"],
            text=asked["passage"],
            candidates=entities,
            statements=[asked["query"].replace(GAP, entity) for entity in entities],
            right=[entity in asked["answers"] for entity in entities],
            answers=list(dict.fromkeys(asked["answers"])),
        )
        found.append(question)
    return _unique(rows, found)


def _flat_statements(rows: Rows, labelled: bool) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows.values):
        yield {
            "passage": rows.text(number, "passage"),
            "query": rows.text(number, "query"),
            "entities": _texts(rows, number, "entities", row["entities"]),
            "answers": _texts(rows, number, "answers", row["answers"]) if labelled else [],
            "id": _join_ids(rows, number, "idx.passage", "idx.query") if labelled else str(number),
            "row": number,
        }


def _nested_statements(rows: Rows, labelled: bool) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows.values):
        passage = rows.text(number, "passage.text")
        places = _objects(rows, number, "passage.entities", row["passage.entities"])
        entities = [_part(rows, number, passage, place) for place in places]
        for asked in _objects(rows, number, "qas", row["qas"]):
            answers = _objects(rows, number, "answers", asked.get("answers")) if labelled else []
            yield {
                "passage": passage,
                "query": _text(rows, number, "query", asked.get("query")),
                "entities": entities,
                "answers": [_text(rows, number, "text", answer.get("text")) for answer in answers],
                "id": f"{rows.id_of(number, 'idx')}-{_inner_id(rows, number, asked.get('idx'))}",
                "row": number,
            }


def _part(rows: Rows, number: int, passage: str, place: Mapping[str, Any]) -> str:
    """Return an entity of the passage; in the files `end` is its last character."""
    start, end = place.get("start"), place.get("end")
    if not (type(start) is int and type(end) is int and 0 <= start <= end < len(passage)):
        found = f"{quote_value(start)} to {quote_value(end)}"
        reason = f"{found} is not a range of characters in the passage"
        raise rows.error(number, "passage.entities", reason)
    return passage[start : end + 1]


def _is_one_of(rows: Rows, number: int, value: Any, yes: Sequence[str], no: Sequence[str]) -> bool:
    if value is None:
        raise rows.error(number, "label", "has no label")
    name = class_name(value)
    if name not in (*yes, *no):
        raise rows.error(number, "label", f"{quote_value(value)} is not one of {no[0]}, {yes[0]}")
    return name in yes


def _objects(rows: Rows, number: int, column: str, value: Any) -> list[Mapping[str, Any]]:
    return _listed(rows, number, column, value, lambda each: isinstance(each, dict), "objects")


def _texts(rows: Rows, number: int, column: str, value: Any) -> list[str]:
    return _listed(rows, number, column, value, is_text, "texts")


def _listed(
    rows: Rows, number: int, column: str, value: Any, fits: Callable[[Any], bool], kind: str
) -> list[Any]:
    if not isinstance(value, list) or not all(fits(each) for each in value):
        raise rows.error(number, column, f"{quote_value(value)} is not a list of {kind}")
    return value


def _text(rows: Rows, number: int, column: str, value: Any) -> str:
    if not is_text(value):
        raise rows.error(number, column, f"{quote_value(value)} is not a text")
    return str(value)


def _join_ids(rows: Rows, number: int, *columns: str) -> str:
    return "-".join(rows.id_of(number, column) for column in columns)


def _inner_id(rows: Rows, number: int, value: Any) -> str:
    """Return the id of a question within a row."""
    if not is_id(value):
        raise rows.error(number, "idx", f"{quote_value(value)} is not an id")
    return class_name(value)


def _unique(rows: Rows, questions: list[Question]) -> list[Question]:
    if not questions:
        raise DataError(f"{rows.path}: has no questions")
    seen: set[str] = set()
    for question in questions:
        if question["id"] in seen:
            raise DataError(f"{rows.path}: two questions have the id {question['id']!r}")
        seen.add(question["id"])
    return questions
