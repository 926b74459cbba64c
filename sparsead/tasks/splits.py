"""Helpers for splits: find each split's file, select the first rows, hold rows out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict

from sparsead.seeding import derive_seed

_HELD_OUT_SEED = 0  # not the run's seed, so that every run holds out the same rows


def split_files(
    path: str | None, files: Mapping[str, str], own: Mapping[str, str | None]
) -> dict[str, Path]:
    """Return the file of each split: files below a folder, or else the user's own files.

    Args:
        path: the folder; None if there is none.
        files: split → file below the folder.
        own: split → the user's own file, or None.
    """
    if path is not None:
        return {split: Path(path) / file for split, file in files.items()}
    return {split: Path(file) for split, file in own.items() if file is not None}


def first_examples(splits: DatasetDict, limit: int | None) -> DatasetDict:
    """Return the first `limit` examples of each split, or all of them if it is None."""
    if limit is None:
        return splits
    return DatasetDict({split: rows.take(min(limit, len(rows))) for split, rows in splits.items()})


def split_rows(rows: Dataset, share: float) -> tuple[Dataset, Dataset]:
    """Split the rows into those to train on and a held-out share, each of at least one row.

    The split is the same for every run, so that all methods and seeds are trained and selected on
    the same rows. If `label` is a class, the split is stratified, to within one row per class.

    Args:
        rows: at least two rows.
        share: share of the rows to hold out, above 0 and below 1.
    """
    count = min(max(round(share * len(rows)), 1), len(rows) - 1)
    draw = np.random.default_rng(derive_seed(_HELD_OUT_SEED, "selection"))
    order = draw.permutation(len(rows)).tolist()
    if isinstance(rows.features.get("label"), ClassLabel):
        order = stratify(order, rows["label"][:])
    return rows.select(order[count:]), rows.select(order[:count])


def stratify(order: Sequence[int], labels: Sequence[int]) -> list[int]:
    """Reorder indices so that every prefix is stratified by class.

    Args:
        order: the indices; those of one class keep their order.
        labels: the class of each index.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index in order:
        members[labels[index]].append(index)
    places = [
        ((rank + 0.5) / len(indices), index)
        for indices in members.values()
        for rank, index in enumerate(indices)
    ]
    return [index for _, index in sorted(places)]
