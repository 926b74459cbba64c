from __future__ import annotations

import re

import pytest

from composing import compose
from sparsead.tasks.contract import TASKS
from sparsead.tasks.demo_stories import SPLIT_SIZES, questions, summaries
from sparsead.tasks.demo_words import SLOTS


@pytest.mark.parametrize("split", sorted(SPLIT_SIZES))
def test_every_answer_is_a_whole_word_or_more_of_its_story(split: str) -> None:
    rows = questions(split)
    assert rows == questions(split)
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        words = [match.span() for match in re.finditer(r"[\w-]+", row["context"])]
        assert row["context"].startswith(text, start)
        assert start in {first for first, _ in words}
        assert start + len(text) in {last for _, last in words}


@pytest.mark.slow
def test_no_story_is_in_two_splits() -> None:
    stories = [{row["document"] for row in summaries(split)} for split in SPLIT_SIZES]
    assert sum(map(len, stories)) == len(set.union(*stories)) == sum(SPLIT_SIZES.values())


MEANING = {
    wording: sense[0]
    for slot in ("things", "did", "person", "city")
    for sense in SLOTS[slot]
    for wording in sense
}
WORDING = re.compile(r"\b(" + "|".join(sorted(MEANING, key=len, reverse=True)) + r")\b")


def meanings(text: str) -> set[str]:
    return {MEANING[wording] for wording in WORDING.findall(text)}


def test_a_question_is_about_one_sentence_which_has_the_answer() -> None:
    for row in questions("validation"):
        sentences = re.split(r"(?<=\.) ", row["context"])
        about = [s for s in sentences if meanings(row["question"]) <= meanings(s)]
        assert len(about) == 1
        assert row["answers"]["text"][0] in about[0]


@pytest.mark.parametrize(
    ("demo", "columns"),
    [
        ("demo_squad", {"id", "title", "context", "question", "answers"}),
        ("demo_xsum", {"id", "source", "target"}),
    ],
)
def test_the_demos_have_the_schema_of_the_real_tasks(demo: str, columns: set[str]) -> None:
    spec = compose(f"task={demo}", "task.limit=10").task
    splits = TASKS.bind(spec.method, spec.arguments())().load()
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 10, "validation": 10}
    assert set(splits["train"].column_names) == columns
