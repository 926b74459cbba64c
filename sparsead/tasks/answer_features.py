"""The token positions of answers in the features into which a tokenizer divides a context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress, groupby
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerBase

_CONTEXT = 1  # a feature is the pair (question, context)
_CLS_POSITION = 0


def cut_texts(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, limit: int
) -> tuple[list[str], list[bool]]:
    """Strip the texts, truncate them to `limit` tokens, and tell which were truncated."""
    stripped = [text.strip() for text in texts]
    tokens = tokenizer(
        stripped, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    offsets = tokens["offset_mapping"]
    cut = [len(places) > limit for places in offsets]
    kept = [
        text[: places[limit - 1][1]] if too_long else text
        for text, places, too_long in zip(stripped, offsets, cut, strict=True)
    ]
    return kept, cut


def mark_first_features(question_of: Sequence[int]) -> list[bool]:
    """Tell for each feature whether it is the first of its question."""
    return [
        number == 0 or question_of[number - 1] != question
        for number, question in enumerate(question_of)
    ]


def answer_columns(
    encoded: BatchEncoding, question_of: Sequence[int], answers: Sequence[Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """Return the labels of each feature, and whether a question's answer is in none of them.

    Args:
        encoded: the features of some questions, in order.
        question_of: the number of each feature's question.
        answers: the true answers to each question; the first one is learnt.

    Returns:
        `start_positions` and `end_positions`: the answer's first and last token, or the position
        of the CLS token in a feature that does not contain the whole answer. `answer_lost`: true
        for the first feature of a question whose whole answer is in none of its features.
    """
    ends = _answer_ends(encoded, question_of, answers)
    spans = [
        _token_span(encoded, feature, ends[question]) if question in ends else None
        for feature, question in enumerate(question_of)
    ]
    found = {question for question, span in zip(question_of, spans, strict=True) if span}
    first = mark_first_features(question_of)
    labels = [span or (_CLS_POSITION, _CLS_POSITION) for span in spans]
    return {
        "start_positions": [start for start, _ in labels],
        "end_positions": [end for _, end in labels],
        "answer_lost": [new and q not in found for new, q in zip(first, question_of, strict=True)],
    }


def context_places(encoded: BatchEncoding) -> dict[str, list[Any]]:
    """Return the positions of the context's tokens, in the feature and in the context's text.

    Returns:
        `offset`: the number of the first token of the context in each feature. `starts` and `ends`:
        for each of the context's tokens its first character, and the one after its last.
    """
    columns: dict[str, list[Any]] = {"offset": [], "starts": [], "ends": []}
    for encoding in encoded.encodings or []:
        of_context = [text == _CONTEXT for text in encoding.sequence_ids]
        places = list(compress(encoding.offsets, of_context))
        columns["offset"].append(of_context.index(True) if places else 0)
        columns["starts"].append([start for start, _ in places])
        columns["ends"].append([end for _, end in places])
    return columns


def _answer_ends(
    encoded: BatchEncoding, question_of: Sequence[int], answers: Sequence[Mapping[str, Any]]
) -> dict[int, tuple[int, int]]:
    """Return, by question, the first and the last character of its answer that have a token.

    A tokenizer may drop characters, such as combining accents and marks of the writing direction.
    A dropped character has no token in any feature; a character outside one feature has its token
    in another one. Questions without an answer, or without a token of it, are left out.
    """
    ends = {}
    for question, features in groupby(range(len(question_of)), key=lambda f: question_of[f]):
        found = _characters_with_token(encoded, list(features), answers[question])
        if found is not None:
            ends[question] = found
    return ends


def _characters_with_token(
    encoded: BatchEncoding, features: Sequence[int], answer: Mapping[str, Any]
) -> tuple[int, int] | None:
    if not answer["text"]:
        return None
    text, start = answer["text"][0], answer["answer_start"][0]
    opening = start + len(text) - len(text.lstrip())
    behind = start + len(text.rstrip())

    def has_token(character: int) -> bool:
        return any(_token(encoded, feature, character) is not None for feature in features)

    first = next(filter(has_token, range(opening, behind)), None)
    last = next(filter(has_token, reversed(range(opening, behind))), None)
    return None if first is None or last is None else (first, last)


def _token_span(
    encoded: BatchEncoding, feature: int, ends: tuple[int, int]
) -> tuple[int, int] | None:
    """Return the tokens of the answer's first and last character, if both are in the feature."""
    first, last = (_token(encoded, feature, character) for character in ends)
    return None if first is None or last is None else (first, last)


def _token(encoded: BatchEncoding, feature: int, character: int) -> int | None:
    return encoded.char_to_token(feature, character, sequence_index=_CONTEXT)
