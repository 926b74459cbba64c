"""Generated stories of a few facts, with questions in SQuAD's schema or summaries in XSum's.

A fact says who did what to how many of which things, where and when. No two facts of a story share
a person, a city, a verb or a kind of thing, so that each question has exactly one answer. Wherever
there is a synonym, a question uses another word than the story, so that the answer cannot be found
by matching words alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from sparsead.tasks.demo_words import MONTHS, SLOTS

SPLIT_SIZES = {"train": 1200, "validation": 200, "test": 200}
SEED = 20161
FACTS = (3, 5)
QUESTIONS = 2

SENTENCES = (
    "{person} {did} {n} {look} {things} in {city} {time}.",
    "In {city}, {n} {look} {things} were {did} by {person} {time}.",
    "In {city}, {person} {did} {n} {look} {things} {time}.",
)
ASKED = {
    "person": "Who {did} the {things}?",
    "n": "How many {things} were {did} by {person}?",
    "city": "In which city were the {things} {did}?",
    "time": "When were the {things} {did} in {city}?",
}
SUMMARY = "{person} {did} {things} in {city}."


@dataclass(frozen=True)
class _Fact:
    said: dict[str, str]
    asked: dict[str, str]


@dataclass(frozen=True)
class _Story:
    facts: list[_Fact]
    text: str
    starts: list[int]


def questions(split: str) -> list[dict[str, Any]]:
    """Draw the rows of a split in the columns of SQuAD, with `QUESTIONS` questions per story.

    Args:
        split: "train", "validation" or "test".

    Returns:
        The same rows on every call; `answer_start` is the answer's position in the context.
    """
    rows = []
    for number, (story, rng) in enumerate(_stories(split)):
        for asked, place in zip(
            rng.sample(sorted(ASKED), QUESTIONS),
            rng.sample(range(len(story.facts)), QUESTIONS),
            strict=True,
        ):
            fact = story.facts[place]
            answer = fact.said[asked]
            start = story.text.index(answer, story.starts[place])
            rows.append(
                {
                    "id": f"{split}-{number}-{asked}",
                    "title": f"Story {number}",
                    "context": story.text,
                    "question": ASKED[asked].format_map(fact.asked),
                    "answers": {"text": [answer], "answer_start": [start]},
                }
            )
    return rows


def summaries(split: str) -> list[dict[str, str]]:
    """Draw the rows of a split in the columns of XSum; a summary restates a story's first fact.

    Args:
        split: "train", "validation" or "test".
    """
    return [
        {
            "id": f"{split}-{number}",
            "document": story.text,
            "summary": SUMMARY.format_map(story.facts[0].asked),
        }
        for number, (story, _) in enumerate(_stories(split))
    ]


def _stories(split: str) -> list[tuple[_Story, Random]]:
    """Return the stories of a split, each with the random generator for its questions."""
    if split not in SPLIT_SIZES:
        raise ValueError(f"unknown split {split!r}, expected one of {sorted(SPLIT_SIZES)}")
    draws = [Random(f"{SEED}/{split}/{number}") for number in range(SPLIT_SIZES[split])]
    return [(_story(rng), rng) for rng in draws]


def _story(rng: Random) -> _Story:
    count = rng.randint(*FACTS)
    drawn = {
        slot: rng.sample(SLOTS[slot], count)
        for slot in ("person", "city", "did", "things", "look", "n")
    }
    drawn["time"] = rng.sample([s for month in MONTHS for s in SLOTS[month]], count)
    facts: list[_Fact] = []
    sentences: list[str] = []
    starts: list[int] = []
    for place in range(count):
        senses = {slot: values[place] for slot, values in drawn.items()}
        wording = {slot: rng.randrange(2) for slot in senses}
        said = {slot: sense[wording[slot] % len(sense)] for slot, sense in senses.items()}
        asked = {slot: sense[(1 + wording[slot]) % len(sense)] for slot, sense in senses.items()}
        facts.append(_Fact(said, asked))
        starts.append(sum(len(sentence) + 1 for sentence in sentences))
        sentences.append(rng.choice(SENTENCES).format_map(said))
    return _Story(facts, " ".join(sentences), starts)
