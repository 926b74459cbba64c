from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sparsead.tasks.demo_sentences import TELLINGS, acceptability, entailment, similarity

KINDS: list[Callable[[str], list[dict[str, Any]]]] = [acceptability, entailment, similarity]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_the_same_on_every_call_and_no_sentence_is_in_both_splits(
    kind: Callable[[str], list[dict[str, Any]]],
) -> None:
    train, validation = kind("train"), kind("validation")
    assert (len(train), len(validation)) == (1600, 300)
    assert kind("train") == train
    first = [next(iter(row.values())) for row in train + validation]
    assert len(set(first)) == len(first)
    assert [row["idx"] for row in train] == list(range(1600))


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_balanced(kind: Callable[[str], list[dict[str, Any]]]) -> None:
    counts = Counter(row["label"] for row in kind("validation"))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_similarity_counts_the_words_that_differ() -> None:
    for row in similarity("validation"):
        first, second = (set(row[f"sentence{i}"].lower().strip(".").split()) for i in (1, 2))
        assert len(first - second) == 5 - row["label"]


def test_what_is_entailed_uses_the_words_of_the_premise() -> None:
    frame = {word for telling in TELLINGS for word in telling.lower().strip(".").split()}
    frame |= {"to", "someone", "were", "ones", "see", "is", "it", "was", "that", "acted", "are"}
    for row in entailment("validation"):
        premise, hypothesis = (set(row[f"sentence{i}"].lower().strip(".").split()) for i in (1, 2))
        assert bool(hypothesis - premise - frame) == row["label"]
