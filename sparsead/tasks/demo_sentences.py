"""Generated English in the schemas of CoLA, STS-B and RTE: small, seeded and easy to learn.

Every row is about one invented event: who did what, where they are from, with which things, to
whom, and when.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

Event = dict[str, str]
Row = dict[str, Any]

SPLIT_SIZES = {"train": 1600, "validation": 300}
SEED = 1931

WORDS = {
    "mood": "tall|old|clever|tired|famous|polite|angry|quiet|rich|young",
    "who": "nurse|pilot|baker|farmer|painter|judge|singer|dentist|sailor|teacher|butcher|senator",
    "city": "Oslo|Porto|Lyon|Ghent|Turin|Leeds|Graz|Bergen|Cork|Seville|Boston|Osaka",
    "did": "sold|gave|showed|sent|lent|brought|offered|promised",
    "look": "broken|shiny|heavy|cheap|rare|wooden|green|empty|huge|modern",
    "things": "cars|boats|lamps|books|chairs|clocks|coats|flowers|maps|guitars|bottles|ladders",
    "whom": "students|tourists|soldiers|neighbours|actors|children|lawyers|drivers|guards|cooks",
    "day": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
}
POOLS = {slot: words.split("|") for slot, words in WORDS.items()}

TELLINGS = (
    "The {mood} {who} from {city} {did} {look} {things} to the {whom} on {day}.",
    "On {day} the {mood} {who} from {city} {did} {look} {things} to the {whom}.",
)
SUMMARIES = (
    (("who", "did", "things"), "The {who} {did} {things} to someone."),
    (("things", "whom"), "The {whom} were the ones to see the {things}."),
    (("who", "city"), "The {who} is from {city}."),
    (("who", "day"), "It was on {day} that the {who} acted."),
    (("mood", "who"), "The {who} is {mood}."),
    (("look", "things"), "The {things} are {look}."),
)
MOST_ALTERED = 5
HIGHEST_SIMILARITY = 5.0

CLAUSES = (
    "the {mood} {who} near the {whom} {is} looking at the {things}",
    "the {who} from {city} {has} seen the {look} {things}",
    "the {who} with the {look} {things} {is} waiting for the {whom}",
    "on {day} the {mood} {who} {was} talking to the {whom}",
)
VERBS = {"is": ("is", "are"), "has": ("has", "have"), "was": ("was", "were")}


def acceptability(split: str) -> list[Row]:
    """Draw rows {"sentence", "label", "idx"}.

    The label is 1 for a grammatical sentence, and 0 for one with a wrong verb form or word order.

    Args:
        split: "train" (1,600 rows) or "validation" (300 rows).
    """
    return _draw(split, "sentence", _acceptability_row)


def similarity(split: str) -> list[Row]:
    """Draw rows {"sentence1", "sentence2", "label", "idx"}.

    The label is 5 minus the number of details that differ between the two sentences.

    Args:
        split: "train" (1,600 rows) or "validation" (300 rows).
    """
    return _draw(split, "sentence1", _similarity_row)


def entailment(split: str) -> list[Row]:
    """Draw rows {"sentence1", "sentence2", "label", "idx"}.

    The label is 0 if the first sentence entails the second, and 1 if a detail differs.

    Args:
        split: "train" (1,600 rows) or "validation" (300 rows).
    """
    return _draw(split, "sentence1", _entailment_row)


def _draw(split: str, key: str, row: Any) -> list[Row]:
    """Return the rows of a split, in which no two have the same sentence in column `key`."""
    return [dict(drawn) for drawn in _draw_splits(key, row)[split]]


@cache
def _draw_splits(key: str, row: Any) -> dict[str, list[Row]]:
    """Draw both splits together, so that no two rows have the same sentence in column `key`."""
    rng = Random(f"{SEED} {row.__name__}")
    seen: set[str] = set()
    splits: dict[str, list[Row]] = {}
    for name, size in SPLIT_SIZES.items():
        splits[name] = []
        while len(splits[name]) < size:
            idx = len(splits[name])
            drawn = row(rng, idx)
            if drawn[key] not in seen:
                seen.add(drawn[key])
                splits[name].append({**drawn, "idx": idx})
        rng.shuffle(splits[name])
        splits[name] = [{**drawn, "idx": idx} for idx, drawn in enumerate(splits[name])]
    return splits


def _event(rng: Random) -> Event:
    return {slot: rng.choice(words) for slot, words in POOLS.items()}


def _altered(rng: Random, event: Event, slots: list[str]) -> Event:
    others = {
        slot: rng.choice([word for word in POOLS[slot] if word != event[slot]]) for slot in slots
    }
    return event | others


def _acceptability_row(rng: Random, idx: int) -> Row:
    plural = rng.random() < 0.5
    event = _event(rng)
    event["who"] += "s" * plural
    right = {name: forms[plural] for name, forms in VERBS.items()}
    wrong = {name: forms[not plural] for name, forms in VERBS.items()}
    label = idx % 2
    clause = rng.choice(CLAUSES)
    by_order = not label and rng.random() < 0.5
    words = clause.format_map(event | (right if label or by_order else wrong)).split()
    if by_order:
        place = words.index("the")
        words[place], words[place + 1] = words[place + 1], words[place]
    return {"sentence": _sentence(" ".join(words)), "label": label}


def _similarity_row(rng: Random, idx: int) -> Row:
    event = _event(rng)
    altered = idx % (MOST_ALTERED + 1)
    other = _altered(rng, event, rng.sample(list(POOLS), altered))
    first, second = (rng.choice(TELLINGS).format_map(told) for told in (event, other))
    return {"sentence1": first, "sentence2": second, "label": HIGHEST_SIMILARITY - altered}


def _entailment_row(rng: Random, idx: int) -> Row:
    event = _event(rng)
    slots, summary = rng.choice(SUMMARIES)
    label = idx % 2
    changed = rng.sample(slots, rng.randint(1, len(slots))) if label else []
    told = _altered(rng, event, changed)
    premise = rng.choice(TELLINGS).format_map(event)
    return {"sentence1": premise, "sentence2": summary.format_map(told), "label": label}


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
