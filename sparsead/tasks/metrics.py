"""Metrics as `evaluate` modules that need no download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
from sklearn.metrics import accuracy_score, f1_score

from sparsead.errors import ConfigError, unknown

_SCORES = {"accuracy": accuracy_score, "f1": f1_score}


class ClassificationScores(evaluate.Metric):  # type: ignore[misc]
    """The metrics of one classification task, over predicted and true classes."""

    def __init__(self, names: Sequence[str]) -> None:
        """Choose the metrics.

        Args:
            names: of metrics, the task's main one first.

        Raises:
            ConfigError: a name is unknown.
        """
        for name in names:
            if name not in _SCORES:
                raise ConfigError(unknown("task.metrics", name, _SCORES))
        self._names = tuple(names)
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Scores of predicted classes against true ones.",
            citation="",
            inputs_description="predictions, references: class numbers",
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {name: float(_SCORES[name](references, predictions)) for name in self._names}
