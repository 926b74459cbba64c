"""Notes below a table: how much of the masks the scores did not decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from sparsead.errors.display import pluralize
from sparsead.report.results import Results


def notes_of_masks(results: Results) -> list[str]:
    """Say for each row how many weights were kept by the minimum per tensor, or among equal scores.

    A row whose masks the scores decided alone has no note.
    """
    found: dict[tuple[str, str], dict[Path, Mapping[str, Any]]] = defaultdict(dict)
    for place, measured in results.places.items():
        for record in measured.records.values():
            sparsity = record.result.get("sparsity", {})
            found[place.backbone, place.row][record.folder] = sparsity  # once for all columns
    several = len({backbone for backbone, _ in found}) > 1
    return [
        f"{results.label(row)}{f', {backbone}' if several else ''}: {note}"
        for (backbone, row), masks in found.items()
        if (note := _describe([*masks.values()]))
    ]


def _describe(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the note on the runs of a row; "" if the scores decided all of their masks."""
    masks = [
        each for each in runs if "by_tensor" in each and any(each.get("not_by_score", {}).values())
    ]
    if not masks:
        return ""
    counts = [each["not_by_score"] for each in masks]
    kept = mean(each["total"] - each["removed"] for each in masks)
    tensors = mean(len(each["by_tensor"]) for each in masks)
    saved, ties, low = (
        mean(values)
        for values in (
            [each["minimum"] for each in counts],
            [each["ties"] for each in counts],
            [len(each["at_minimum"]) for each in counts],
        )
    )
    parts = []
    if low:
        parts.append(
            f"{_mean_count(saved)} kept only because of pruner.minimum_kept (in "
            f"{low:.3g} of {tensors:.3g} tensors)"
        )
    if ties:
        parts.append(f"{_mean_count(ties)} drawn at random among equal scores")
    means = "; means over these runs" if len(masks) > 1 else ""
    return (
        f"in {len(masks)} of {pluralize(len(runs), 'run')} the scores did not decide all of the "
        f"{kept:,.0f} kept weights: {', and '.join(parts)}{means}."
    )


def _mean_count(mean_count: float) -> str:
    """Return a mean of counts as it is printed, without a 0 for less than half a weight."""
    return f"{mean_count:,.0f}" if mean_count >= 10 else f"{mean_count:.2g}"
