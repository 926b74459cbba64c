"""The nine tasks of GLUE: from the hub, or from a folder in GLUE's TSV layout."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict

from sparsead.errors import DataError
from sparsead.hub.sources import Source, data_source
from sparsead.tasks.contract import TASKS
from sparsead.tasks.hub_rows import load_splits, read_split
from sparsead.tasks.rows import Rows, quote_value
from sparsead.tasks.sentences import SentenceTask
from sparsead.tasks.tsv import read_tsv

log = logging.getLogger(__name__)


@TASKS.register("glue")
@dataclass(frozen=True)
class GlueTask(SentenceTask):
    """A task of GLUE.

    Args:
        tsv_columns: the task's column → its name in the header of the file.
        tsv_header: names of the columns of train and dev, if these files have no header line.
        tsv_labels: the names of the classes in the files and in a submission, in the order of
            `labels`.
        tsv_id: the task's column that numbers the rows, if the files have one.
        tsv_skip_short: leave out lines with too few fields, and log their number (for QQP).
        hub: name of the data set on the hub.
        hub_config: name of the configuration of that data set.
        revision: its branch, tag or commit; None for its main branch.
        hub_splits: the task's split → the hub's split.
        tests: name of the submission's file → {"hub": the hub's split, "file": the file below the
            folder of the test sets}. "hub_config" names another configuration, and "optional"
            tells that the folder may lack the file.
    """

    tsv_columns: Mapping[str, str] = field(default_factory=dict)
    tsv_header: Sequence[str] = ()
    tsv_labels: Sequence[str] = ()
    tsv_id: str | None = None
    tsv_skip_short: bool = False
    hub: str = ""
    hub_config: str = ""
    hub_splits: Mapping[str, str] = field(default_factory=dict)
    tests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    revision: str | None = None

    def load_tests(self, folder: Path | None) -> DatasetDict:
        """Return the unlabelled test sets, keyed by the name of the submission's file.

        Args:
            folder: a folder in GLUE's layout; None loads them from the hub.

        Raises:
            DataError: a local file is missing or malformed.
            SourceError: the data set cannot be loaded from the hub.
        """
        loaded = {name: self._load_test(test, folder) for name, test in self.tests.items()}
        return DatasetDict({name: rows for name, rows in loaded.items() if rows is not None})

    def submission(self, records: Sequence[Mapping[str, Any]]) -> str:
        """Return the content of a submission file for GLUE's server.

        Args:
            records: the records from `decoded` for the test set, in its order.

        Returns:
            Tab-separated lines: the header `index, prediction`, then one line per example. Classes
            are written as in GLUE's files, and STS-B's numbers between 0 and 5 with three decimals.
        """
        predicted = [record["prediction"] for record in records]
        if self.regression:
            texts = [f"{number:.3f}" for number in np.clip(predicted, 0, 5)]
        else:
            written = dict(zip(self.classes, self.tsv_labels, strict=True))
            texts = [written[name] for name in predicted]
        lines = [f"{index}\t{text}" for index, text in enumerate(texts)]
        return "\n".join(["index\tprediction", *lines]) + "\n"

    def _splits(self) -> DatasetDict:
        if self.path is None:
            source = self._source(self.hub_config)
            loaded = load_splits(source, self.hub_splits)
            return DatasetDict({s: self._labelled(source, s, rows) for s, rows in loaded.items()})
        folder = Path(self.path)
        return DatasetDict({split: self._read(folder / file) for split, file in self.files.items()})

    def _labelled(self, source: Source, split: str, rows: Dataset) -> Dataset:
        """Return one of the hub's splits with the task's classes; its test sets have −1 for labels.

        Raises:
            DataError: the split has no labels or declares other classes than the task has, or one
                of its values is not a text or a label.
        """
        theirs = self.hub_splits[split]
        read = read_split(f"{source}: {theirs}", rows, [*self.inputs, "label"])
        if all(label in (None, -1) for label in read.column("label")):
            raise DataError(
                f"task.hub_splits.{split}={theirs}: {self.hub} has no labels in this split; "
                "leave it out"
            )
        self._check_classes(read.declared.get("label"))
        for column in self.inputs:
            read.texts(column)
        self._check_labels(read)
        return self._in_order(rows)

    def _check_classes(self, declared: Sequence[str] | None) -> None:
        """Refuse the classes that a data set declares, if it does, unless they are the task's."""
        if declared is None or (not self.regression and {*declared} == {*self.classes}):
            return
        raise DataError(
            f"task.hub={self.hub}: its classes are {', '.join(declared)}, and those of "
            f"task={self.name} are {', '.join(self.classes) or 'numbers'}; choose another data set"
        )

    def _check_labels(self, rows: Rows) -> None:
        """Refuse a label that is missing or that the task does not have; the message names it."""
        if "label" in rows.declared:
            rows.classes("label", dict.fromkeys(self.classes, 0))
            return
        highest = len(self.classes) - 1
        wanted = f"the number of a class, 0 to {highest}; task=text reads classes by their names"
        for number, label in enumerate(rows.column("label")):
            known = type(label) is int and 0 <= label <= highest
            if self.regression:
                known = type(label) in (int, float) and 0 <= label < math.inf
                wanted = "a finite number of at least 0"
            if not known:
                raise rows.error(number, "label", f"{quote_value(label)} is not {wanted}")

    def _in_order(self, rows: Dataset) -> Dataset:
        """Return rows whose classes have the task's numbers; those that declare none have them."""
        declared, names = rows.features["label"], list(self.classes)
        if not isinstance(declared, ClassLabel) or declared.names == names:
            return rows
        numbers = [names.index(name) for name in declared.names]
        renumbered = rows.map(lambda row: {"label": numbers[row["label"]]})
        return renumbered.cast_column("label", ClassLabel(names=names))

    def _load_test(self, test: Mapping[str, Any], folder: Path | None) -> Dataset | None:
        if folder is None:
            source = self._source(test.get("hub_config", self.hub_config))
            rows = load_splits(source, {"test": test["hub"]})["test"]
            read = read_split(f"{source}: {test['hub']}", rows, self.inputs)
            for column in self.inputs:
                read.texts(column)
            return rows.select_columns(list(self.inputs))
        file = folder / test["file"]
        if test.get("optional", False) and not file.exists():
            log.warning("%s: is not there, and left out", file)
            return None
        if not file.is_file():
            raise DataError(f"{file}: is not there; name the test sets' folder with --data FOLDER")
        columns = {column: self.tsv_columns[column] for column in self.inputs}
        return self._typed(read_tsv(file, columns), ())

    def _source(self, config: str) -> Source:
        return data_source(self.name, "glue", self.hub, config, self.revision)

    def _read(self, path: Path) -> Dataset:
        rows = read_tsv(path, self.tsv_columns, self.tsv_header, self.tsv_skip_short)
        if rows.skipped:
            log.warning(
                "%s: left out %d lines with too few fields, the first is line %d",
                path,
                len(rows.skipped),
                rows.skipped[0],
            )
        if self.tsv_id is not None:
            rows.check_unique(self.tsv_id)
        return self._typed(rows, self.tsv_labels)
