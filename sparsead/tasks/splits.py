"""What tasks do with their splits: find the file of each, and take the first examples only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from datasets import DatasetDict


def split_files(
    path: str | None, files: Mapping[str, str], own: Mapping[str, str | None]
) -> dict[str, Path]:
    """Return the file of each split: those below a folder, or else the user's own.

    Args:
        path: the folder, if there is one.
        files: split → file below it.
        own: split → the user's file, if they named one.
    """
    if path is not None:
        return {split: Path(path) / file for split, file in files.items()}
    return {split: Path(file) for split, file in own.items() if file is not None}


def first_examples(splits: DatasetDict, limit: int | None) -> DatasetDict:
    """Return the first `limit` examples of each split; all of them where it is None."""
    if limit is None:
        return splits
    return DatasetDict({split: rows.take(min(limit, len(rows))) for split, rows in splits.items()})
