"""Notes below a table: how much of the masks the scores did not decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from sparsead.report.formats import pluralize
from sparsead.report.results import Results


def notes_of_masks(results: Results) -> list[str]:
    """Say for each row how many weights were kept by the minimum per tensor, or among equal scores.

    A row whose masks the scores decided alone has no note.
    """
    found: dict[tuple[str, str], dict[Path, Mapping[str, Any]]] = defaultdict(dict)
    for place, measured in results.places.items():
        for record in measured.records.values():
            sparsity = record.result.get("sparsity", {})
            if any(sparsity.get("not_by_score", {}).values()):
                found[place.backbone, place.row][record.folder] = sparsity  # once for all columns
    several = len({backbone for backbone, _ in found}) > 1
    return [
        f"{results.label(row)}{f', {backbone}' if several else ''}: {_describe([*masks.values()])}"
        for (backbone, row), masks in found.items()
    ]


def _describe(masks: Sequence[Mapping[str, Any]]) -> str:
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
            f"pruner.minimum_kept saved {saved:,.0f} of them, and {low:.3g} of {tensors:.3g} "
            "tensors have no more than it"
        )
    if ties:
        parts.append(f"equal scores left {ties:,.0f} of them to chance")
    runs = pluralize(len(masks), "run")
    return (
        f"the scores did not decide all of the {kept:,.0f} kept weights: {'; '.join(parts)} (mean "
        f"of {runs})."
    )
