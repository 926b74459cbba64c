"""The token positions of answers in the features into which a tokenizer divides a context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
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
    spans = [
        _token_span(encoded, feature, answers[question])
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


def _token_span(
    encoded: BatchEncoding, feature: int, answers: Mapping[str, Any]
) -> tuple[int, int] | None:
    """Return the first and the last token of the first answer, if both are in the feature."""
    if not answers["text"]:
        return None
    text, start = answers["text"][0], answers["answer_start"][0]
    opening = start + len(text) - len(text.lstrip())
    closing = start + len(text.rstrip()) - 1
    first = encoded.char_to_token(feature, opening, sequence_index=_CONTEXT)
    last = encoded.char_to_token(feature, closing, sequence_index=_CONTEXT)
    return None if first is None or last is None else (first, last)
