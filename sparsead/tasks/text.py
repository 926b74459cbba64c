"""Classification or regression on the user's own sentences or pairs, without writing code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from sparsead.config.values import NO_FILE, ONE_OF_TWO, TEXT, check_all
from sparsead.errors import ConfigError, DataError
from sparsead.tasks.contract import TASKS
from sparsead.tasks.files import read_file
from sparsead.tasks.rows import Rows, class_name, class_order, exact_number
from sparsead.tasks.sentences import SentenceTask
from sparsead.tasks.splits import split_rows


@TASKS.register("text")
@dataclass(frozen=True)
class TextTask(SentenceTask):
    """Classification or regression on a CSV, TSV, JSONL or Parquet file.

    If `labels` is empty, the classes are those of the training file: numbers in the order of their
    values, then texts in alphabetical order. If `metrics` is empty, they are accuracy, or pearson
    and spearmanr for regression.

    Args:
        train: file to train on.
        validation: file to evaluate on.
        validation_share: instead of a validation file, the share of `train` to hold out. It is
            stratified by class, and the same for every seed and method.
        label: column of the classes or numbers.
        id: column in which no value may occur twice; None for none.
    """

    train: str | None = None
    validation: str | None = None
    validation_share: float | None = None
    label: str = "label"
    id: str | None = None

    def __post_init__(self) -> None:
        check_all(TEXT, vars(self))
        if self.validation is not None and self.validation_share is not None:
            raise ConfigError(f"task.validation={self.validation}: {ONE_OF_TWO}")
        if self.labels and len({class_name(label) for label in self.labels}) < 2:
            raise ConfigError(
                f"task.labels={list(self.labels)}: name at least two different classes"
            )

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns of text in the splits: not the user's, which may be `label`."""
        return ("text", "text_pair")[: len(self.inputs)]

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes: those given, or those of the training file."""
        if self.labels or self.regression:
            return [class_name(label) for label in self.labels]
        rows = self._rows["train"]
        names = sorted(set(rows.class_names("label")), key=class_order)
        if len(names) < 2:
            raise DataError(f"{rows.path}: {self.label}: is {names[0]} in every row")
        _refuse_no_classes(rows, self.label, names)
        return names

    @property
    def from_data(self) -> dict[str, Any]:
        """The names of the classes, which may come from the training file."""
        return {} if self.regression else {"labels": self.classes}

    def _splits(self) -> DatasetDict:
        splits = DatasetDict(
            {split: self._typed(rows, self.classes) for split, rows in self._rows.items()}
        )
        if self.validation_share is None:
            return splits
        if len(splits["train"]) < 2:
            raise ConfigError("task.validation_share: one example cannot be split")
        train, validation = split_rows(splits["train"], self.validation_share)
        return DatasetDict({"train": train, "validation": validation})

    def _place(self, split: str) -> str:
        file = self.train if split == "train" or self.validation is None else self.validation
        return f"{file}: {split}" if file and split in ("train", "validation") else split

    @cached_property
    def _rows(self) -> dict[str, Rows]:
        if self.train is None:
            raise ConfigError(NO_FILE["text"])
        if self.validation is None and self.validation_share is None:
            raise ConfigError(f"task.validation: {ONE_OF_TWO}")
        files = {"train": self.train, "validation": self.validation}
        return {split: self._read(Path(file)) for split, file in files.items() if file is not None}

    def _read(self, path: Path) -> Rows:
        ids = [] if self.id is None else [self.id]
        rows = read_file(path, list(dict.fromkeys([*self.inputs, self.label, *ids])))
        if self.id is not None:
            rows.check_unique(self.id)
        names = {**dict(zip(self.columns, self.inputs, strict=True)), "label": self.label}
        values = [{ours: row[given] for ours, given in names.items()} for row in rows.values]
        return Rows(path, values, rows.lines, names=names)

    @property
    def _metric_names(self) -> Sequence[str]:
        return self.metrics or (("pearson", "spearmanr") if self.regression else ("accuracy",))


_MOST_SINGLE = 10
"""A file with more classes than this has at least two rows of most of them."""


def _refuse_no_classes(rows: Rows, column: str, names: Sequence[str]) -> None:
    """Refuse labels that are numbers to predict, or texts that are in a row each."""
    numbers = [exact_number(name) for name in names]
    fractions = [str(number) for number in numbers if number is not None and number % 1]
    many = len(names) > _MOST_SINGLE and 2 * len(names) > len(rows.values)
    if not fractions and not many:
        return
    found = f"{len(names)} different labels in {len(rows.values)} rows"
    if fractions:
        found = f"{fractions[0]} is not the name of a class ({found})"
    raise DataError(
        f"{rows.path}: {column}: {found}; predict numbers with task.regression=true, name another "
        "column with task.label=COLUMN, or name every class in task.labels"
    )
