"""ROUGE, BLEU and chrF of generated texts as an `evaluate` module that needs no download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from sparsead.tasks.metrics import NamedScores

_ROUGE = ("rouge1", "rouge2", "rougeL")
_CORPUS: dict[str, Callable[..., Any]] = {
    "bleu": sacrebleu.corpus_bleu,
    "chrf": sacrebleu.corpus_chrf,
}


class TextScores(NamedScores):
    """Scores of generated texts against one reference each, as shares between 0 and 1.

    `rouge1`, `rouge2` and `rougeL` are the mean F-measures of rouge_score with stemming; `bleu`
    and `chrf` are sacreBLEU's of the whole corpus with its defaults, which it prints in percent.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Choose the metrics.

        Args:
            names: of metrics, the task's main one first.

        Raises:
            ConfigError: a name is unknown.
        """
        super().__init__(names, (*_ROUGE, *_CORPUS))

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Scores of generated texts against true ones.",
            citation="",
            inputs_description="predictions, references: texts",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        rouge = _rouge(self.names, predictions, references)
        return {
            name: rouge[name] if name in rouge else _corpus(name, predictions, references)
            for name in self.names
        }


def _rouge(
    names: Sequence[str], predictions: Sequence[str], references: Sequence[str]
) -> dict[str, float]:
    wanted = [name for name in names if name in _ROUGE]
    scorer = RougeScorer(wanted, use_stemmer=True)
    scores = [
        scorer.score(reference, prediction)
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    return {name: float(np.mean([score[name].fmeasure for score in scores])) for name in wanted}


def _corpus(name: str, predictions: Sequence[str], references: Sequence[str]) -> float:
    return float(_CORPUS[name](list(predictions), [list(references)]).score) / 100
