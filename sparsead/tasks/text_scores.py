"""ROUGE, BLEU and chrF of generated texts as an `evaluate` module that needs no download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import datasets
import evaluate
import numpy as np
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import Score

from sparsead.tasks.metrics import Metric, NamedScores


def _f_measures(name: str, scores: Sequence[Mapping[str, Score]]) -> list[float]:
    return [score[name].fmeasure for score in scores]


_ROUGE = {name: Metric(partial(_f_measures, name)) for name in ("rouge1", "rouge2", "rougeL")}
_CORPUS = {"bleu": Metric(sacrebleu.corpus_bleu), "chrf": Metric(sacrebleu.corpus_chrf)}


class TextScores(NamedScores):
    """Scores of generated texts against one reference each, as shares between 0 and 1.

    `rouge1`, `rouge2` and `rougeL` are mean F-measures, computed by rouge_score with stemming.
    `bleu` and `chrf` are computed over the whole corpus by sacreBLEU with its defaults; it prints
    them in percent.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Choose the metrics.

        Args:
            names: names of the metrics, the task's main one first.

        Raises:
            ConfigError: a name is unknown, or there is none.
        """
        super().__init__(names, _ROUGE | _CORPUS)

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Scores of generated texts against true ones.",
            citation="",
            inputs_description="predictions, references: texts",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def each(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
        """Return those metrics that are means over the texts, ROUGE, for every text."""
        names = [name for name in self.chosen if name in _ROUGE]
        return _rouge(names, predictions, references) if names else {}

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        rouge = self.each(predictions, references)
        return {
            name: float(np.mean(rouge[name]))
            if name in rouge
            else _corpus(metric, predictions, references)
            for name, metric in self.chosen.items()
        }


def _rouge(
    names: Sequence[str], predictions: Sequence[str], references: Sequence[str]
) -> dict[str, list[float]]:
    scorer = RougeScorer(names, use_stemmer=True)
    scores = [
        scorer.score(reference, prediction)
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    return {name: _ROUGE[name].compute(scores) for name in names}


def _corpus(metric: Metric, predictions: Sequence[str], references: Sequence[str]) -> float:
    return float(metric.compute(list(predictions), [list(references)]).score) / 100
