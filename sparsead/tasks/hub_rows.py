"""Rows of a data set on the hub, read by column name and checked like those of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict

from sparsead.errors import DataError
from sparsead.hub.rows import load_rows
from sparsead.hub.sources import Source
from sparsead.tasks.files import check_columns, check_rows
from sparsead.tasks.rows import Rows, check_header, quote_value


def read_hub(source: Source, splits: Mapping[str, str], columns: Sequence[str]) -> dict[str, Rows]:
    """Read the named columns of splits of a data set on the hub.

    Args:
        source: the data set.
        splits: the task's split → the hub's split.
        columns: names of the columns; `translation.en` is the key `en` of a column of objects.

    Returns:
        The rows of each of the task's splits. A class is its name, or None where the data set
        keeps it secret (-1).

    Raises:
        DataError: the data set has no such split or column, or a split is empty.
        SourceError: the data set cannot be obtained.
    """
    loaded = load_splits(source, splits)
    return {ours: read_split(f"{source}: {splits[ours]}", loaded[ours], columns) for ours in loaded}


def load_splits(source: Source, splits: Mapping[str, str]) -> DatasetDict:
    """Return splits of a data set on the hub by the task's names.

    Raises:
        DataError: the data set has no such split; the message lists those that it has.
        SourceError: the data set cannot be obtained.
    """
    loaded = load_rows(source)
    for ours, theirs in splits.items():
        if theirs not in loaded:
            raise DataError(
                f"{source}: has no split {theirs} (splits: {', '.join(loaded)}); choose "
                f"task.hub_splits.{ours}=SPLIT"
            )
    return DatasetDict({ours: loaded[theirs] for ours, theirs in splits.items()})


def read_split(place: str, rows: Dataset, columns: Sequence[str]) -> Rows:
    """Return the named columns of a split; a class is its name, or None where it is secret (-1).

    Args:
        place: the data set and its split, for messages.
        rows: the split.
        columns: names of the columns; `translation.en` is the key `en` of a column of objects.

    Raises:
        DataError: the split has no such column or no rows, or a number is that of no class.
    """
    flat = rows.flatten()
    check_header(place, flat.column_names)
    check_columns(place, columns, flat.column_names)
    wanted = list(dict.fromkeys(columns))
    selected = flat.select_columns(wanted)
    declared = {
        name: kind.names for name, kind in selected.features.items() if isinstance(kind, ClassLabel)
    }
    values = [
        {
            name: _named(f"{place}:{number}: {name}", value, declared.get(name))
            for name, value in row.items()
        }
        for number, row in enumerate(selected.to_list(), start=1)
    ]
    return check_rows(Rows(place, values, range(1, len(values) + 1), declared=declared), wanted)


def _named(place: str, value: Any, classes: Sequence[str] | None) -> Any:
    """Return the name of a class instead of its number; None if it is not told.

    Raises:
        DataError: there is no class of this number; the message begins with `place`.
    """
    if classes is None or value is None:
        return value
    if value not in range(-1, len(classes)):
        raise DataError(f"{place}: {quote_value(value)} is not the number of a class")
    return classes[value] if value >= 0 else None
