"""SQuAD v1.1's exact match and F1 as an `evaluate` module that needs no download."""

from __future__ import annotations

import logging
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from sparsead.tasks.metrics import Metric, NamedScores
from sparsead.tasks.words import has_few_spaces

log = logging.getLogger(__name__)

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Return the text as SQuAD compares it: lower case, no punctuation, no articles, one space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answer: str) -> float:
    """Return 1 if both are equal after `normalise`, else 0."""
    return float(normalise(prediction) == normalise(answer))


def f1(prediction: str, answer: str) -> float:
    """Return the F1 of the prediction's words against the answer's words.

    As in the official script it is 0 if they have no word in common, even if both are empty.
    """
    predicted, true = normalise(prediction).split(), normalise(answer).split()
    common = sum((Counter(predicted) & Counter(true)).values())
    return 2 * common / (len(predicted) + len(true)) if common else 0.0


ANSWER_METRICS = {"f1": Metric(f1), "exact_match": Metric(exact_match)}


def warn_of_other_answers(metrics: Sequence[str], answers: Sequence[Sequence[str]]) -> None:
    """Warn of true answers that SQuAD's F1, which is made for English, cannot compare.

    Args:
        metrics: names of the metrics.
        answers: the true answers to each question that is scored.
    """
    if "f1" not in metrics:
        return
    if has_few_spaces("".join(text for texts in answers for text in texts)):
        log.warning(
            "f1 splits texts into words at spaces, and the true answers have few spaces: an answer "
            "that is right in part counts as wrong"
        )
    without = [texts for texts in answers if texts and not any(map(normalise, texts))]
    if without:
        log.warning(
            "f1 leaves out a, an, the and punctuation, and scores %d of %d questions 0 whose "
            "answer is nothing else, such as %r",
            *(len(without), len(answers), without[0][0][:20]),
        )


class AnswerScores(NamedScores):
    """Mean over the questions of the best score against any of a question's true answers.

    The scores are shares between 0 and 1, like all scores of a run; the official script prints
    percent.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Choose the metrics.

        Args:
            names: names of the metrics, the task's main one first.

        Raises:
            ConfigError: a name is unknown, or there is none.
        """
        super().__init__(names, ANSWER_METRICS)

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Exact match and F1 as in SQuAD v1.1 (Rajpurkar et al., 2016).",
            citation="",
            inputs_description="predictions: texts; references: the true answers of each",
            features=datasets.Features(
                {"predictions": text, "references": datasets.Sequence(text)}
            ),
        )

    def each(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]]
    ) -> dict[str, list[float]]:
        """Return each metric for every question: the best score against any of its answers."""
        pairs = list(zip(predictions, references, strict=True))
        return {name: _best(metric, pairs) for name, metric in self.chosen.items()}

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        values = self.each(predictions, references)
        return {name: float(np.mean(scores)) for name, scores in values.items()}


def _best(metric: Metric, pairs: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
    best = max if metric.higher_is_better else min
    return [
        best(metric.compute(answer, prediction) for answer in answers)
        for prediction, answers in pairs
    ]
