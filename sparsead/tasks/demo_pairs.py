"""Generated English paraphrase pairs in the schema of GLUE MRPC.

A meaning (one sense for each slot of a sentence frame) is rendered twice, in different wordings:
synonyms, digits or words, active or passive voice, converse verbs, order of clauses. In a
non-paraphrase, some slots have another sense in the second sentence, or the two participants are
exchanged. The frame, the wordings and the slots that may differ are drawn independently of the
label, so that neither the overlap of words nor any single word reveals the label.
"""

import re
from functools import cache
from itertools import product
from random import Random

from sparsead.tasks.demo_words import MONTHS, SLOTS, Sense

Meaning = dict[str, Sense]
Row = dict[str, str | int]

SPLIT_SIZES = {"train": 2400, "validation": 400}
SEED = 20051
POSITIVE_SHARE = 0.55
REWORDING_RATE = 0.9
ALTERATION_RATE = 0.95
MIRRORED_SHARE = 0.12
ROLE_FOCUS_SHARE = 0.5
SAME_PATTERN_SHARE = 0.5

# Each paragraph is a frame, and each of its lines is a pattern; the patterns of a frame have the
# same meaning.
FRAMES = """
{n} {mood} {people} {did} the {look} {things} {after}
the {look} {things} were {did} by {n} {mood} {people} {after}

{person} {manner} {did} {n} {look} {things} {spot}
{spot}, {n} {look} {things} were {manner} {did} by {person}

{company} {manner} {act} {n} {mood} {people} {after}
{n} {mood} {people} were {manner} {act} by {company} {after}

{people_1} from {city} {act} {n} {mood} {people_2} {spot}
{spot}, {n} {mood} {people_2} were {act} by {people_1} from {city}

the {city} council {approve} a plan to {build} {n} {look} hospitals near the river
a plan to {build} {n} {look} hospitals near the river was {approve} by the {city} council

shares in {company} {rise} {n} percent because its profit {beat} forecasts
because its profit {beat} forecasts, shares in {company} {rise} {n} percent

the {mood} {people} from {city} said that the {things} were {look}
the {things} were {look}, said the {mood} {people} from {city}

a court heard that {person} was {convict} of stealing {n} {look} {things}
{person}, a court heard, was {convict} of stealing {n} {look} {things}

{teams} {win} the match in {city} in front of {n} {mood} {people}
in front of {n} {mood} {people}, {teams} {win} the match in {city}

a team of {n} {people} {confirm} a claim that the {things} are {look}
a claim that the {things} are {look} was {confirm} by a team of {n} {people}

{person} {vow} to pay {n} dollars for the {look} {things} {after}
for the {look} {things}, {person} {vow} to pay {n} dollars {after}

the government {raise} the tax on {look} {things} by {n} percent {after}
the tax on {look} {things} was {raise} by {n} percent by the government {after}

critics in {city} {adore} the {story} about {n} {mood} {people}
the {story} about {n} {mood} {people} was {adore} by critics in {city}

{n} {mood} {people} with {look} {things} {leave} {city} {after}
with {look} {things}, {n} {mood} {people} {leave} {city} {after}

visitors to {city} complained about the {mood} {people} and the {look} {things}
visitors to {city} complained about the {look} {things} and the {mood} {people}

{person} gave the {look} {things} to {n} {mood} {people} {spot}
{n} {mood} {people} received the {look} {things} from {person} {spot}

{n} {mood} {people} from {city} worked {spot} for {period}
for {period}, {n} {mood} {people} from {city} worked {spot}

a {strong} wind pushed the {look} {things} {n} miles away from {city}
the {look} {things} were pushed {n} miles away from {city} by a {strong} wind

the population of {city} {grow} {manner} over {period}
over {period}, the population of {city} {grow} {manner}
"""

# {trade_a} and {trade_b} are two different trades; exchanging them changes the meaning.
MIRRORED_FRAMES = """
{trade_a} bought {n} {look} {things} from {trade_b}
{trade_b} sold {n} {look} {things} to {trade_a}

{trade_a} received {n} {look} {things} from {trade_b}
{trade_b} gave {n} {look} {things} to {trade_a}

{trade_a} learned {skill} from {trade_b} in {city}
{trade_b} taught {skill} to {trade_a} in {city}

{trade_a} {act} {trade_b} for {deed} in {city}
{trade_b} was {act} by {trade_a} for {deed} in {city}

{trade_a} from {city} {manner} {act} {trade_b} {spot}
{trade_b} was {manner} {act} by {trade_a} from {city} {spot}

{teams_a} defeated {teams_b} in front of {n} {mood} {people}
{teams_b} lost to {teams_a} in front of {n} {mood} {people}

the {place} in {city_a} is older than the one in {city_b}
the {place} in {city_b} is newer than the one in {city_a}

the {place} in {city_a} is bigger than the one in {city_b}
the {place} in {city_b} is smaller than the one in {city_a}

{events_a} before {events_b}
before {events_b}, {events_a}
{events_b} after {events_a}
after {events_a}, {events_b}
"""
TIMES = ("hour", "ago", "daylight", *MONTHS)
CIRCUMSTANCES = {"spot", "after", "period"}
STATES = {"city_a", "events_a"}
DATED = ("{core} {time}", "{time}, {core}")
SOURCED = ("{core}, {source} said", "according to {source}, {core}")


def _draw_patterns(rng: Random) -> list[str]:
    frames = MIRRORED_FRAMES if rng.random() < MIRRORED_SHARE else FRAMES
    cores = rng.choice(frames.strip().split("\n\n")).splitlines()
    named = set(re.findall(r"{(\w+)}", cores[0]))
    wrappers = ("{core}",) if named & CIRCUMSTANCES else SOURCED if named & STATES else DATED
    time = "{" + rng.choice(TIMES) + "}"
    return [
        wrapper.replace("{core}", core).replace("{time}", time)
        for core, wrapper in product(cores, wrappers)
    ]


def _pool(slot: str) -> str:
    return slot.split("_")[0]


def _draw_meaning(rng: Random, pattern: str) -> Meaning:
    names = re.findall(r"{(\w+)}", pattern)
    meaning = {name: rng.choice(SLOTS[_pool(name)]) for name in names}
    for pool in [_pool(name) for name in names if name.endswith("_a")]:
        meaning[f"{pool}_a"], meaning[f"{pool}_b"] = rng.sample(SLOTS[pool], 2)
    return meaning


def _draw_contrasted(rng: Random, meaning: Meaning) -> list[str]:
    """Draw the slots that get another wording and, in a non-paraphrase, another sense."""
    contrasts = [name for name, sense in meaning.items() if len(sense) > 1]
    roles = [name for name in meaning if name.endswith("_a")]
    by_role = roles and (not contrasts or rng.random() < ROLE_FOCUS_SHARE)
    focus = roles if by_role else [rng.choice(contrasts)]
    rest = [name for name in contrasts if name not in focus and rng.random() < REWORDING_RATE]
    return focus + rest


def _alter(rng: Random, meaning: Meaning, slot: str) -> Meaning:
    if slot.endswith("_a"):
        partner = f"{_pool(slot)}_b"
        return {slot: meaning[partner], partner: meaning[slot]}
    return {slot: rng.choice([sense for sense in SLOTS[_pool(slot)] if sense != meaning[slot]])}


def _render(pattern: str, meaning: Meaning, wording: dict[str, int]) -> str:
    words = {name: sense[wording[name] % len(sense)] for name, sense in meaning.items()}
    sentence = pattern.format_map(words)
    return sentence[0].upper() + sentence[1:].rstrip(".") + "."


def _draw_pair(rng: Random, label: int) -> tuple[str, str]:
    patterns = _draw_patterns(rng)
    meaning = _draw_meaning(rng, patterns[0])
    wording = {name: rng.randrange(2) for name in meaning}
    contrasted = _draw_contrasted(rng, meaning)
    pattern1, pattern2 = rng.sample(patterns, 2)
    # If the roles are contrasted, one pattern would make both sentences of a paraphrase equal.
    if not contrasted[0].endswith("_a") and rng.random() < SAME_PATTERN_SHARE:
        pattern2 = pattern1
    altered = contrasted[:1] + [s for s in contrasted[1:] if rng.random() < ALTERATION_RATE]
    other = dict(meaning)
    for slot in () if label else altered:
        other |= _alter(rng, meaning, slot)
    reworded = wording | {name: 1 - wording[name] for name in contrasted}
    return _render(pattern1, meaning, wording), _render(pattern2, other, reworded)


def _draw_row(rng: Random, seen: set[str], label: int, idx: int) -> Row:
    sentence1, sentence2 = _draw_pair(rng, label)
    while sentence1 in seen or sentence2 in seen:
        sentence1, sentence2 = _draw_pair(rng, label)
    seen |= {sentence1, sentence2}
    return {"sentence1": sentence1, "sentence2": sentence2, "label": label, "idx": idx}


def _draw_labels(rng: Random, size: int) -> list[int]:
    positives = round(size * POSITIVE_SHARE)
    labels = [1] * positives + [0] * (size - positives)
    rng.shuffle(labels)
    return labels


def paraphrase_pairs(split: str) -> list[Row]:
    """Draw the rows {"sentence1", "sentence2", "label", "idx"} of a split.

    The label is 1 for a paraphrase.

    Args:
        split: "train" (2,400 rows) or "validation" (400 rows).

    Returns:
        The same rows on every call. No sentence occurs in two rows, not even of different splits.
    """
    if split not in SPLIT_SIZES:
        raise ValueError(f"unknown split {split!r}, expected one of {sorted(SPLIT_SIZES)}")
    return [dict(row) for row in _draw_splits()[split]]


@cache
def _draw_splits() -> dict[str, list[Row]]:
    """Draw the splits together, so that no two rows of any have the same sentence."""
    rng = Random(SEED)
    seen: set[str] = set()
    rows: dict[str, list[Row]] = {}
    for name, size in SPLIT_SIZES.items():
        labels = _draw_labels(rng, size)
        rows[name] = [_draw_row(rng, seen, label, idx) for idx, label in enumerate(labels)]
    return rows
