"""Metrics as an `evaluate` module that needs no download."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import datasets
import evaluate
import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    matthews_corrcoef,
    mean_absolute_error,
    mean_squared_error,
)

from sparsead.errors import ConfigError, unknown

log = logging.getLogger(__name__)

Score = Callable[[Any, Any], Any]


def _pearson(references: Any, predictions: Any) -> float:
    return float("nan") if len(references) < 2 else float(pearsonr(references, predictions)[0])


def _spearman(references: Any, predictions: Any) -> float:
    return float("nan") if len(references) < 2 else float(spearmanr(references, predictions)[0])


_OF_CLASSES: Mapping[str, Score] = {
    "accuracy": accuracy_score,
    "f1": f1_score,
    "f1_macro": partial(f1_score, average="macro"),
    "matthews_correlation": matthews_corrcoef,
}
_OF_NUMBERS: Mapping[str, Score] = {
    "pearson": _pearson,
    "spearmanr": _spearman,
    "mae": mean_absolute_error,
    "mse": mean_squared_error,
}


class NamedScores(evaluate.Metric):  # type: ignore[misc]
    """Metrics chosen by name, in that order, computed in memory."""

    def __init__(self, names: Sequence[str], choices: Collection[str]) -> None:
        """Choose the metrics.

        Args:
            names: of metrics, the task's main one first.
            choices: the names that there are.

        Raises:
            ConfigError: a name is unknown.
        """
        for name in names:
            if name not in choices:
                raise ConfigError(unknown("task.metrics", name, choices))
        self.names = tuple(names)
        super().__init__(keep_in_memory=True)


class TaskScores(NamedScores):
    """The metrics of one task, over predicted and true classes or numbers.

    The names and the values are those of the hub's `glue` metric. For predictions that are all
    alike Matthews correlation is 0 by definition, as in scikit-learn; Pearson and Spearman are
    not defined: they are nan, as in scipy, and a line says so. `f1` is that of class 1 of two.
    """

    def __init__(self, names: Sequence[str], regression: bool = False) -> None:
        """Choose the metrics.

        Args:
            names: of metrics, the task's main one first.
            regression: the predictions are numbers, not classes.

        Raises:
            ConfigError: a name is unknown, or there is none.
        """
        choices = _OF_NUMBERS if regression else _OF_CLASSES
        if not names:
            raise ConfigError(f"task.metrics=[]: name one of {', '.join(sorted(choices))}")
        self._dtype = "float64" if regression else "int64"
        super().__init__(names, choices)
        self._scores = {name: choices[name] for name in self.names}

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value(self._dtype)
        return evaluate.MetricInfo(
            description="Scores of predictions against true classes or numbers.",
            citation="",
            inputs_description="predictions, references: class numbers, or numbers",
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        if not np.isfinite(predictions).all():
            log.warning("%s not defined: a prediction is not finite", ", ".join(self._scores))
            return dict.fromkeys(self._scores, float("nan"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said below, in a line
            values = {
                name: float(score(references, predictions)) for name, score in self._scores.items()
            }
        undefined = [name for name, value in values.items() if not np.isfinite(value)]
        if undefined:
            log.warning("%s not defined: %s", ", ".join(undefined), _reason(predictions))
        return values


def _reason(predictions: Any) -> str:
    if len(predictions) < 2:
        return "one example has no correlation"
    constant = "the predictions" if np.ptp(predictions) == 0 else "the true values"
    return f"{constant} are all alike"
