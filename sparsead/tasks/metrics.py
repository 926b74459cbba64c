"""Metrics as an `evaluate` module that needs no download."""

from __future__ import annotations

import logging
import reprlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
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

from sparsead.config.registry import import_object
from sparsead.config.values.tasks import CONSTANT_WITHIN, check_metrics, score_name
from sparsead.errors import ConfigError
from sparsead.errors.own_code import named_as_own

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """A metric and its direction.

    Attributes:
        compute: function from the true and the predicted values to the metric; the types of the
            values depend on the kind of task.
        higher_is_better: whether a higher value is better.
    """

    compute: Callable[..., Any]
    higher_is_better: bool = True


def _pearson(references: Any, predictions: Any) -> float:
    return float("nan") if len(references) < 2 else float(pearsonr(references, predictions)[0])


def _spearman(references: Any, predictions: Any) -> float:
    return float("nan") if len(references) < 2 else float(spearmanr(references, predictions)[0])


CLASS_METRICS = {
    "accuracy": Metric(accuracy_score),
    "f1": Metric(f1_score),
    "f1_macro": Metric(partial(f1_score, average="macro")),
    "matthews_correlation": Metric(matthews_corrcoef),
}
NUMBER_METRICS = {
    "pearson": Metric(_pearson),
    "spearmanr": Metric(_spearman),
    "mae": Metric(mean_absolute_error, higher_is_better=False),
    "mse": Metric(mean_squared_error, higher_is_better=False),
}


def _find(name: str, choices: Mapping[str, Metric]) -> Metric:
    if "." not in name:
        return choices[name]
    found = import_object("task.metrics", name)
    if isinstance(found, Metric):
        _check_arguments(name, found.compute)
        _check_direction(name, found)
        return replace(found, compute=partial(_compute_own, name, found.compute))
    if not callable(found):
        raise ConfigError(f"task.metrics={name}: is neither a function nor a Metric")
    _check_arguments(name, found)
    _check_direction(name, found)
    return Metric(partial(_compute_own, name, found), getattr(found, "higher_is_better", True))


def _check_arguments(name: str, compute: Callable[..., Any]) -> None:
    """Refuse a function that cannot be called with two arguments, before anything is trained."""
    try:
        signature(compute).bind(None, None)
    except TypeError as error:
        raise ConfigError(
            f"task.metrics={name}: must take two arguments, the true and the predicted values"
        ) from error
    except ValueError:  # a function that is not Python's own does not tell
        return


def _check_direction(name: str, found: object) -> None:
    """Refuse a direction that is neither true nor false; without one, higher is better."""
    direction = getattr(found, "higher_is_better", True)
    if not isinstance(direction, bool):
        raise ConfigError(
            f"task.metrics={name}: its higher_is_better is {direction!r}; it must be True or False"
        )


def _compute_own(name: str, compute: Callable[..., Any], *values: Any) -> float:
    """Return what a metric of the user's own computes from copies of its two arguments.

    Raises:
        ConfigError: it is no number, or a function of a library fails.
    """
    with named_as_own(f"task.metrics={name}"):
        value = compute(*map(copy, values))
    return to_number(f"task.metrics={name}: returned", value)


def to_number(what: str, value: Any) -> float:
    """Return a score that code of the user's own has computed, as a number.

    Args:
        what: how the message begins, such as "task.metrics=mine.cost: returned".
        value: a number, or an array or tensor of one number.

    Raises:
        ConfigError: it is something else, such as a text or a truth value.
    """
    try:
        if isinstance(value, str | bytes | bool | np.bool_):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{what} {reprlib.repr(value)}, which is not a number") from error


class NamedScores(evaluate.Metric):  # type: ignore[misc]
    """Metrics chosen by name, in that order, computed in memory."""

    def __init__(self, names: Sequence[str], choices: Mapping[str, Metric]) -> None:
        """Choose the metrics.

        Args:
            names: names of the metrics, the task's main one first. A dotted path names the user's
                own function, or a `Metric` that holds one. It returns a number for all true and all
                predicted values or, for answers, for one true answer and one prediction.
            choices: all metrics of this kind, by name.

        Raises:
            ConfigError: a name is unknown or cannot be imported, or there is none.
        """
        check_metrics(names, choices)
        self.chosen = {score_name(name): _find(name, choices) for name in names}
        super().__init__(keep_in_memory=True)

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """For each metric, the main one first, whether a higher value is better."""
        return {name: metric.higher_is_better for name, metric in self.chosen.items()}


class TaskScores(NamedScores):
    """The metrics of one task, over predicted and true classes or numbers.

    The names and the values are those of the hub's `glue` metric. If all predictions are equal,
    Matthews correlation is 0, as in scikit-learn. Pearson and Spearman correlations are then 0 too,
    although scipy leaves them undefined: such predictions tell nothing about the true values. A
    warning is logged. If all true values are equal, or there is only one example, the correlations
    are nan. `f1` is the F1 of class 1 of two classes.
    """

    def __init__(self, names: Sequence[str], regression: bool = False) -> None:
        """Choose the metrics.

        Args:
            names: names of the metrics, the task's main one first.
            regression: whether the predictions are numbers instead of classes.

        Raises:
            ConfigError: a name is unknown, or there is none.
        """
        choices = NUMBER_METRICS if regression else CLASS_METRICS
        self._dtype = "float64" if regression else "int64"
        super().__init__(names, choices)

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
            log.warning("%s not defined: a prediction is not finite", ", ".join(self.chosen))
            return dict.fromkeys(self.chosen, float("nan"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # logged below in one line
            values = {
                name: float(metric.compute(references, predictions))
                for name, metric in self.chosen.items()
            }
        if is_constant(predictions) and not is_constant(references):
            values |= _correlations_of_a_constant(self.chosen)
        undefined = [name for name, value in values.items() if not np.isfinite(value)]
        if undefined:
            log.warning("%s not defined: %s", ", ".join(undefined), _reason(predictions))
        return values


def is_constant(values: Any) -> bool:
    """Tell whether a sequence of two or more values is constant, numbers up to rounding errors."""
    if len(values) < 2:
        return False
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        return all(value == values[0] for value in values)
    return bool(np.ptp(array) <= CONSTANT_WITHIN * np.abs(array).max())


def _correlations_of_a_constant(chosen: Iterable[str]) -> dict[str, float]:
    found = dict.fromkeys((name for name in chosen if name in ("pearson", "spearmanr")), 0.0)
    if found:
        log.warning("%s set to 0: the predictions are all alike", ", ".join(found))
    return found


def _reason(predictions: Any) -> str:
    if len(predictions) < 2:
        return "one example has no correlation"
    return "the true values are all alike"
