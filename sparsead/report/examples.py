"""A table's scores on resampled examples, read from the predictions that its runs keep."""

from __future__ import annotations

import os
from collections import defaultdict
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from sparsead.errors import RecordError
from sparsead.errors.display import pluralize
from sparsead.report.evaluated import differ_in_examples
from sparsead.report.resampling import Array, draw_resamples
from sparsead.report.rescoring import rescore
from sparsead.report.results import Place, Results
from sparsead.report.statistics import FEWEST_EXAMPLES, Resampled
from sparsead.runs.predictions import list_predicted_splits, read_predictions
from sparsead.runs.record import RunRecord
from sparsead.tables.cells import AVERAGE

if TYPE_CHECKING:
    from pandas import DataFrame

_TRUTHS = ("id", "label", "reference", "references")


class ResampledScores:
    """The scores of a table's runs on resampled examples, computed when they are asked for."""

    def __init__(self, results: Results) -> None:
        """Remember the table; nothing is read yet."""
        self._results = results
        self._cells: dict[Place, Resampled | None] = {}
        self._examples: dict[str, bytes] = {}
        self._drawn_for: dict[str, str] = {}
        self._data_of_name: dict[str, list[RunRecord]] = defaultdict(list)
        self.reasons: dict[str, str] = {}
        """Why there are none, by column: of the first run for which that is so."""

    def at(self, backbone: str, row: str, column: str) -> Resampled | None:
        """Return a cell's scores in percent by seed; None where they cannot be computed.

        An average has as many resamples as the task of it that has the fewest.

        They cannot where a run keeps no predictions, or damaged ones, where the metric cannot be
        computed from them or does not give the recorded score, where runs of a column were
        evaluated on different examples, and where these are fewer than `FEWEST_EXAMPLES`.
        """
        if column == AVERAGE:
            return self._average(backbone, row)
        place = Place(backbone, row, column)
        if place not in self._cells:
            self._cells[place] = self._read(place)
        return self._cells[place]

    def _average(self, backbone: str, row: str) -> Resampled | None:
        parts = [self.at(backbone, row, column) for column in self._results.table.average]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        seeds = set.intersection(*(set(part) for part in known)) if known else set()
        # A task with many examples has fewer resamples; the resamples of two tasks are independent.
        fewest = min((len(scores) for part in known for scores in part.values()), default=0)
        return {seed: np.mean([part[seed][:fewest] for part in known], axis=0) for seed in seeds}

    def _read(self, place: Place) -> Resampled | None:
        measured = self._results.at(*place)
        metric = self._metrics[place.column]
        found: dict[int, Array] = {}
        for seed in measured.scores:
            record = measured.records[seed]
            try:
                found[seed] = 100 * self._score(place.column, record, metric)
            except RecordError as error:
                # Without the folder of the runs, so that the same records give the same table.
                reason = str(error).replace(f"{record.folder.parent}{os.sep}", "")
                self.reasons.setdefault(place.column, reason)
                return None
        return found

    @cached_property
    def _metrics(self) -> dict[str, str]:
        return {column.name: column.metric for column in self._results.table.columns}

    def _score(self, column: str, record: RunRecord, metric: str) -> Array:
        """Return a run's score on each resample.

        Raises:
            RecordError: it cannot be computed; the message says why.
        """
        split, name = _split_of(record, metric)
        frame = read_predictions(record, split, without=["n_best"])
        self._check_examples(column, record, frame)
        if len(frame) < FEWEST_EXAMPLES:
            raise RecordError(
                f"{record.folder}: was evaluated on {pluralize(len(frame), 'example')}, fewer than "
                f"{FEWEST_EXAMPLES}"
            )
        if column not in self._drawn_for:
            self._drawn_for[column] = self._name_examples(record, split)
        counts = draw_resamples(self._drawn_for[column], len(frame))
        return rescore(record, split, name, frame, counts)

    def _name_examples(self, record: RunRecord, split: str) -> str:
        """Return a name for the examples of a run, by which their resamples are drawn.

        Columns of the same examples have the same resamples. Two data sets of one name, such as
        data files in different folders, are numbered, so that their resamples are independent.
        """
        name = f"{record.result['config']['task']['name']}/{split}"
        seen = self._data_of_name[name]
        number = next(
            (n for n, each in enumerate(seen) if not differ_in_examples(record, each)), None
        )
        if number is None:
            number = len(seen)
            seen.append(record)
        return f"{name}/{number + 1}" if number else name

    def _check_examples(self, column: str, record: RunRecord, frame: DataFrame) -> None:
        truths = [frame[name].map(str).str.cat(sep="\0") for name in _TRUTHS if name in frame]
        digest = sha256("\1".join(truths).encode("utf-8", "surrogatepass")).digest()
        if self._examples.setdefault(column, digest) != digest:
            raise RecordError(f"{record.folder}: was evaluated on other examples than other runs")


def _split_of(record: RunRecord, metric: str) -> tuple[str, str]:
    """Return the split that a score of a run is of, and the metric's own name.

    The scores of all splits but the first carry its name: `validation_mismatched_accuracy`.
    """
    first, *others = list_predicted_splits(record)
    for split in sorted(others, key=len, reverse=True):
        if metric.startswith(f"{split}_"):
            return split, metric.removeprefix(f"{split}_")
    return first, metric
