"""Scores of generated texts as an `evaluate` module that needs no download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import datasets
import evaluate
import numpy as np

from sparsead.config.values.tasks import check_decimal_mark, check_tokenizers
from sparsead.tasks.metrics import Metric, NamedScores
from sparsead.tasks.text_matches import exact_match, find_answer, find_number, number_match
from sparsead.tasks.words import ENGLISH, rouge_tokenizer

if TYPE_CHECKING:
    from rouge_score.scoring import Score


def _f_measures(name: str, scores: Sequence[Mapping[str, Score]]) -> list[float]:
    return [score[name].fmeasure for score in scores]


ROUGE_METRICS = {
    name: Metric(partial(_f_measures, name)) for name in ("rouge1", "rouge2", "rougeL")
}


def _corpus_score(name: str, *texts: Any, **options: Any) -> Any:
    """Return what sacreBLEU computes; it is imported only where texts are scored."""
    import sacrebleu

    return getattr(sacrebleu, f"corpus_{name}")(*texts, **options)


MATCH_METRICS = {"exact_match": Metric(exact_match), "number_match": Metric(number_match)}
CORPUS_METRICS = {name: Metric(partial(_corpus_score, name)) for name in ("bleu", "chrf")}


class TextScores(NamedScores):
    """Scores of generated texts against one reference each, as shares between 0 and 1.

    `rouge1`, `rouge2` and `rougeL` are mean F-measures, computed by rouge_score with stemming.
    `exact_match` and `number_match` are the shares of texts with the right answer.
    `bleu` and `chrf` are computed over the whole corpus by sacreBLEU; it prints them in percent.
    By default the words are those of English; chrF compares characters, of any language.
    """

    def __init__(
        self,
        names: Sequence[str],
        tokenizers: Mapping[str, str] = ENGLISH,
        answer_after: str | None = None,
        decimal_mark: str = "point",
    ) -> None:
        """Choose the metrics.

        Args:
            names: names of the metrics, the task's main one first.
            tokenizers: what splits texts into words for `rouge` and `bleu`.
            answer_after: `exact_match` and `number_match` compare what follows this in a text; None
                compares whole texts, or the last number of each.
            decimal_mark: what stands before the decimals of the numbers that `number_match` reads,
                `point` or `comma`.

        Raises:
            ConfigError: a name or a tokenizer is unknown, or there is no name.
        """
        check_tokenizers({"scoring_tokenizers": tokenizers})
        check_decimal_mark({"decimal_mark": decimal_mark})
        self.tokenizers = {**ENGLISH, **tokenizers}
        self.answer_after = answer_after
        self.decimal_mark = decimal_mark
        super().__init__(names, ROUGE_METRICS | MATCH_METRICS | CORPUS_METRICS)

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Scores of generated texts against true ones.",
            citation="",
            inputs_description="predictions, references: texts",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def each(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
        """Return those metrics that are means over the texts, for every text."""
        names = [name for name in self.chosen if name in ROUGE_METRICS]
        rouge = self._rouge(names, predictions, references) if names else {}
        pairs = list(zip(predictions, references, strict=True))
        matches = {
            name: [metric.compute(*pair, self.answer_after, self.decimal_mark) for pair in pairs]
            for name, metric in MATCH_METRICS.items()
            if name in self.chosen
        }
        return {**rouge, **matches}

    def missing_answer(self, reference: str) -> str | None:
        """Return what a true text lacks, without which a metric would count it as always wrong."""
        after = "" if self.answer_after is None else f" after task.answer_after={self.answer_after}"
        how = self.answer_after, self.decimal_mark
        if "number_match" in self.chosen and find_number(reference, *how) is None:
            return f"has no number{after}, which task.metrics=[number_match] compares"
        if "exact_match" in self.chosen and find_answer(reference, self.answer_after) is None:
            return f"has nothing{after}, which task.metrics=[exact_match] compares"
        return None

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        means = self.each(predictions, references)
        return {
            name: float(np.mean(means[name]))
            if name in means
            else self._corpus(name, metric, predictions, references)
            for name, metric in self.chosen.items()
        }

    def _rouge(
        self, names: Sequence[str], predictions: Sequence[str], references: Sequence[str]
    ) -> dict[str, list[float]]:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(names, tokenizer=rouge_tokenizer(self.tokenizers["rouge"]))
        scores = [
            scorer.score(reference, prediction)
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        return {name: ROUGE_METRICS[name].compute(scores) for name in names}

    def _corpus(
        self, name: str, metric: Metric, predictions: Sequence[str], references: Sequence[str]
    ) -> float:
        if name not in CORPUS_METRICS:  # of the user's own
            return float(metric.compute(list(references), list(predictions)))
        words = {"tokenize": self.tokenizers[name]} if name in self.tokenizers else {}
        score = metric.compute(list(predictions), [list(references)], **words).score
        return float(score) / 100
