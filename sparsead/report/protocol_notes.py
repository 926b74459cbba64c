"""Notes below a table: how its runs were trained, and what was pruned from each of their parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sparsead.config.choices import read_own_rate
from sparsead.config.quoting import overridden_key
from sparsead.errors.display import pluralize
from sparsead.report.results import Place, Results
from sparsead.runs.record import RunRecord
from sparsead.tables.choice import Choice

PAPER_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4)
"""The learning rates of the paper's grid."""

DEFAULT_RATES = (5e-4, 1e-3, 5e-3)
"""The default rates of conf/ outside it: of most adapters, of CoLA and of sparse, and of BitFit."""

_PAPER_SEARCHED = (
    "The paper's columns are the best of a grid search of 80 hyperparameter settings for each row "
    "and task, chosen on the dev set; the best of 80 equally good settings scores 4 to 6 "
    "percentage points above their mean on RTE's dev set."
)
_ON_DEV = (
    "the dev set itself: these scores are chosen on the dev set, and are too high by what the best "
    "of so many points gains by chance"
)
_ON_TRAIN = "the held-out part of the training set"
_NOT_OURS = "Ours are not the best of a search on the dev set: each row has one setting."
_PREFIX = ("key", "value")
_RATE = "protocol.learning_rate"


def notes_of_protocol(results: Results) -> list[str]:
    """Say how the paper's numbers and ours were tuned, as far as the table shows any of them."""
    records = _records(results)
    notes = [_note_of_search(results)] if _choices(results) else []
    if any(published.scores for row in results.table.rows for published in row.published):
        notes.append(" ".join((_PAPER_SEARCHED, *([] if results.table.search else [_NOT_OURS]))))
    rates = {_point(record).get("learning_rate") for record in records}
    outside = sorted(rate for rate in rates if rate is not None and rate not in PAPER_RATES)
    if outside:
        named = ", ".join(f"{rate:g}" for rate in outside)
        notes.append(
            f"Learning rates outside the paper's grid: {named}.{_origin(results, outside)}"
        )
    return notes


def _origin(results: Results, rates: Sequence[float]) -> str:
    """Say on what the default rates were chosen; nothing of rates that somebody else decided."""
    at_default = {
        _point(record).get("learning_rate")
        for place, measured in results.places.items()
        if not _is_typed(results, place)
        for record in measured.records.values()
        if _has_default_rate(record)
    }
    defaults = [f"{rate:g}" for rate in rates if rate in at_default]
    if _choices(results) or not defaults:
        return ""
    return (
        " Chosen as a default with minilm, by the scores of single runs, and on no other backbone: "
        f"{', '.join(defaults)}."
    )


def _is_typed(results: Results, place: Place) -> bool:
    """Tell whether the table, the row or the column says the learning rate of a cell's runs."""
    table = results.table
    parts = [row.overrides for row in table.rows if row.name == place.row]
    parts += [column.overrides for column in table.columns if column.name == place.column]
    return any(
        overridden_key(word) == _RATE for words in (table.overrides, *parts) for word in words
    )


def _has_default_rate(record: RunRecord) -> bool:
    """Tell whether a run has the rate that was chosen as a default for its adapter and task.

    A table of runs that filters found does not know what was typed for them. Rates outside
    `DEFAULT_RATES`, such as that of (IA)³, come from the methods' authors.
    """
    rate = _point(record).get("learning_rate")
    if rate not in DEFAULT_RATES:
        return False
    config = record.result["config"]
    stated = (read_own_rate(group, config[group]["name"]) for group in ("adapter", "task"))
    return bool(rate == next((own for own in stated if own is not None), DEFAULT_RATES[0]))


def _note_of_search(results: Results) -> str:
    """Say what the brackets of a searched table mean, and what the points were chosen on."""
    choices = _choices(results)
    failed = sum(choice.failed for choice in choices)
    left_out = f" Left out because a run failed: {pluralize(failed, 'point')}." if failed else ""
    sizes = sorted({choice.points for choice in choices})
    points = " to ".join(str(size) for size in dict.fromkeys([sizes[0], sizes[-1]]))
    return (
        f"In brackets: learning rate, epochs and batch size of the point chosen among {points} for "
        f"each row and task, by the mean over the seeds on {_chosen_on(results)}.{left_out}"
    )


def _chosen_on(results: Results) -> str:
    """Say on which examples the points of a table were chosen, and what follows for its scores."""
    searched = [each for each in results.places.values() if each.choice]
    held_out = {record.holds_out for each in searched for record in each.records.values()}
    if held_out == {True, False}:
        return f"{_ON_TRAIN}, or, where a cell says so, on {_ON_DEV}"
    return _ON_DEV if False in held_out else f"{_ON_TRAIN}; the dev set had no part in the choice"


def _choices(results: Results) -> list[Choice]:
    return [each.choice for each in results.places.values() if each.choice]


def notes_of_parts(results: Results) -> list[str]:
    """Say for each row with prefixes and other adapters which share pruning removed from each."""
    found: dict[tuple[str, str], list[Mapping[str, float]]] = defaultdict(list)
    for place, measured in results.places.items():
        for record in measured.records.values():
            shares = removed_by_part(record)
            if len(shares) > 1 and any(shares.values()):
                found[place.backbone, place.row].append(shares)
    several = len({backbone for backbone, _ in found}) > 1
    return [
        f"{results.label(row)}{f', {backbone}' if several else ''}: pruning removed "
        f"{_range(shares, 'prefixes')} of the prefixes and {_range(shares, 'adapters')} of the "
        "parallel adapters."
        for (backbone, row), shares in found.items()
    ]


def removed_by_part(record: RunRecord) -> dict[str, float]:
    """Return the share of weights removed from the prefixes and from the other adapters, 0 to 1.

    A part that the run does not have, or whose weights are not prunable, is left out.
    """
    counts: dict[str, list[int]] = {}
    by_tensor = record.result.get("sparsity", {}).get("by_tensor", {})
    for name, tensor in by_tensor.items():
        part = "prefixes" if name.rpartition(".adapter.")[2] in _PREFIX else "adapters"
        removed, total = counts.setdefault(part, [0, 0])
        counts[part] = [removed + tensor["removed"], total + tensor["total"]]
    return {part: removed / total for part, (removed, total) in counts.items() if total}


def _range(shares: Sequence[Mapping[str, float]], part: str) -> str:
    """Return the lowest and the highest share, in percent; one number if they round alike."""
    percent = [100 * each[part] for each in shares]
    ends = dict.fromkeys(f"{value:.0f}" for value in (min(percent), max(percent)))
    return f"{' to '.join(ends)} %"


def _records(results: Results) -> list[RunRecord]:
    return [r for measured in results.places.values() for r in measured.records.values()]


def _point(record: RunRecord) -> Mapping[str, Any]:
    config = record.result.get("config", {})
    protocol: Mapping[str, Any] = config.get("protocol", {})
    return protocol
