"""A quick look at a data set: its first examples only."""

from __future__ import annotations

from datasets import DatasetDict


def first_examples(splits: DatasetDict, limit: int | None) -> DatasetDict:
    """Return the first `limit` examples of each split; all of them where it is None."""
    if limit is None:
        return splits
    return DatasetDict({split: rows.take(min(limit, len(rows))) for split, rows in splits.items()})
