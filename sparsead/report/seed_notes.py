"""Notes below a table: what its seeds do not vary, and which of its runs repeat others."""

from __future__ import annotations

from sparsead.config.seeds import PARTS
from sparsead.errors.display import pluralize
from sparsead.report.results import Results

_MEANING = {
    "data": "the order of the training examples and dropout",
    "init": "the initial weights",
    "mask": "what a mask draws at random",
}


def notes_of_seeds(results: Results) -> list[str]:
    """Say which parts of the runs have one fixed seed, and which runs are counted once."""
    return [*_notes_of_fixed_parts(results), *_notes_of_repeated_runs(results)]


def _notes_of_fixed_parts(results: Results) -> list[str]:
    configs = [record.result.get("config", {}) for record in results.every_run()]
    given: dict[str, int] = {}
    for part in PARTS:
        seeds = {config.get(f"seed_{part}") for config in configs}
        if len(seeds) == 1 and None not in seeds:
            given[part] = seeds.pop()
    if not given:
        return []
    keys = " and ".join(f"seed_{part}={seed}" for part, seed in given.items())
    same = "; ".join(_MEANING[part] for part in given)
    return [
        f"{keys} in every run: the seeds of this table vary nothing of this: {same}. What is said "
        "of other seeds does not hold for it."
    ]


def _notes_of_repeated_runs(results: Results) -> list[str]:
    return [
        f"{results.label(place.row)} in {place.column}: not counted: "
        f"{pluralize(len(cell.repeated), 'run')} of {len(cell.records)}, with the losses and "
        "scores of another seed; nothing in such a run depends on the seed."
        for place, cell in results.places.items()
        if cell.repeated
    ]
