"""Classification or regression on any sentences or pairs: one's own files, or a set of the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from datasets import DatasetDict

from sparsead.config.values.contract import check_all
from sparsead.config.values.tasks import NO_FILE, ONE_OF_TWO, TEXT
from sparsead.errors import ConfigError, DataError
from sparsead.hub.sources import data_source
from sparsead.tasks.contract import TASKS
from sparsead.tasks.files import read_file
from sparsead.tasks.hub_rows import read_hub
from sparsead.tasks.rows import Rows, class_name, class_order, exact_number
from sparsead.tasks.sentences import SentenceTask
from sparsead.tasks.splits import split_files, split_rows

_HUB_SPLITS = {"train": "train", "validation": "validation"}


@TASKS.register("text")
@dataclass(frozen=True)
class TextTask(SentenceTask):
    """Classification or regression on CSV, TSV, JSONL or Parquet files, or a data set of the hub.

    If `labels` is empty, the classes are those that the data set declares, in its order, or else
    those of the training rows: numbers in the order of their values, then texts in alphabetical
    order. If `metrics` is empty, they are accuracy, or pearson and spearmanr for regression.

    Args:
        train: file to train on.
        validation: file to evaluate on.
        validation_share: instead of a validation split, the share of `train` to hold out. It is
            stratified by class, and the same for every seed and method.
        label: column of the classes or numbers; `a.b` is the key `b` of a column `a` of objects.
        id: column in which no value may occur twice; None for none.
        hub: name of the data set on the hub that is read in place of files.
        hub_config: name of its configuration; None for its only one.
        hub_splits: the task's split → the hub's split. Those besides train and validation are
            scored once, after training.
        revision: its branch, tag or commit; None for its main branch.
    """

    train: str | None = None
    validation: str | None = None
    validation_share: float | None = None
    label: str = "label"
    id: str | None = None
    hub: str | None = None
    hub_config: str | None = None
    hub_splits: Mapping[str, str] = field(default_factory=lambda: dict(_HUB_SPLITS))
    revision: str | None = None

    def __post_init__(self) -> None:
        check_all(TEXT, vars(self))
        held_out = self.validation_share is not None
        if self.validation is not None and held_out:
            raise ConfigError(f"task.validation={self.validation}: {ONE_OF_TWO}")
        if self.path is not None and "validation" in self.files and held_out:
            raise ConfigError(f"task.files.validation={self.files['validation']}: {ONE_OF_TWO}")
        names = [class_name(label) for label in self.labels]
        if names and (len(names) < 2 or len(set(names)) < len(names)):
            raise ConfigError(
                f"task.labels={list(self.labels)}: name at least two classes, each of them once"
            )

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns of text in the splits: not the user's, which may be `label`."""
        return ("text", "text_pair")[: len(self.inputs)]

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes: those given, those declared, or those of the training rows."""
        if self.labels or self.regression:
            return [class_name(label) for label in self.labels]
        rows = self._rows["train"]
        names = sorted(set(rows.class_names("label")), key=class_order)
        if len(names) < 2:
            raise DataError(f"{rows.path}: {self.label}: is {names[0]} in every row")
        if self.label in rows.declared:
            return list(rows.declared[self.label])
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
        return DatasetDict({**splits, "train": train, "validation": validation})

    def _place(self, split: str) -> str:
        if self.hub is not None:
            return f"{self.hub}: {self.hub_splits[split]}" if split in self.hub_splits else split
        files = self._file_of
        file = files.get("train" if split == "validation" and split not in files else split)
        return split if file is None else f"{file}: {split}"

    @cached_property
    def _rows(self) -> dict[str, Rows]:
        read = self._read_hub() if self.hub is not None else self._read_files()
        return {split: self._rename_columns(rows) for split, rows in read.items()}

    def _read_hub(self) -> dict[str, Rows]:
        source = data_source(self.name, "text", str(self.hub), self.hub_config, self.revision)
        wanted = self._without_held_out(self.hub_splits)
        if "validation" not in wanted and self.validation_share is None:
            raise ConfigError("task.hub_splits: name the hub's split for validation")
        return read_hub(source, wanted, self._read_columns)

    def _read_files(self) -> dict[str, Rows]:
        files = self._without_held_out(self._file_of)
        if "train" not in files:
            raise ConfigError(NO_FILE["text"])
        if "validation" not in files and self.validation_share is None:
            raise ConfigError(f"task.validation: {ONE_OF_TWO}")
        return {split: read_file(file, self._read_columns) for split, file in files.items()}

    @property
    def _file_of(self) -> dict[str, Path]:
        own = {"train": self.train, "validation": self.validation}
        return split_files(self.path, self.files, own)

    def _without_held_out(self, splits: Mapping[str, Split]) -> dict[str, Split]:
        """Return the splits to read: not validation, where a share of train is held out for it."""
        held_out = self.validation_share is not None
        return {name: of for name, of in splits.items() if not (held_out and name == "validation")}

    @property
    def _read_columns(self) -> list[str]:
        ids = [] if self.id is None else [self.id]
        return list(dict.fromkeys([*self.inputs, self.label, *ids]))

    def _rename_columns(self, rows: Rows) -> Rows:
        """Check that ids are unique, and return the rows with the task's names of their columns."""
        if self.id is not None:
            rows.check_unique(self.id)
        names = {**dict(zip(self.columns, self.inputs, strict=True)), "label": self.label}
        values = [{ours: row[given] for ours, given in names.items()} for row in rows.values]
        return replace(rows, values=values, names=names)

    @property
    def _metric_names(self) -> Sequence[str]:
        return self.metrics or (("pearson", "spearmanr") if self.regression else ("accuracy",))


Split = TypeVar("Split")

_MOST_SINGLE = 10
"""A file with more classes than this has at least two rows of most of them."""


def _refuse_no_classes(rows: Rows, column: str, names: Sequence[str]) -> None:
    """Refuse labels that look like numbers to predict, or that differ in nearly every row."""
    numbers = [exact_number(name) for name in names]
    known = [number for number in numbers if number is not None]
    fractions = [str(number) for number in known if number != number.to_integral_value()]
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
