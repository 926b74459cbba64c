"""Scores on resampled examples, computed from the predictions that runs keep.

A resample draws as many examples as there are, with replacement (bootstrap; Efron, 1979). It is
given as counts: how often each example is drawn. All runs of a task are scored on the same
resamples, so that a difference between two runs is one on the same examples.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pandas import DataFrame

RESAMPLES = 1000
COUNTS_AT_ONCE = 4_000_000
"""Counts that are worked with at once, which bounds the memory: 16 MB of 32-bit numbers."""

Array = np.ndarray[Any, np.dtype[Any]]
Score = Callable[[Array], Array]
"""From counts of shape (resamples, examples) to one score for each resample."""


@lru_cache(maxsize=8)
def draw_resamples(task: str, examples: int) -> Array:
    """Return the counts of a task's resamples, of shape (`RESAMPLES`, examples); always the same.

    Args:
        task: tasks of different names have independent resamples.
        examples: number of examples of the evaluated split.
    """
    seed = int.from_bytes(sha256(task.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    counts = np.empty((RESAMPLES, examples), np.uint8)
    for row in counts:
        row[:] = np.bincount(rng.integers(examples, size=examples), minlength=examples)
    return counts


def score_resamples(
    frame: DataFrame, metric: str, counts: Array, bleu_tokenizer: str = "13a"
) -> Array:
    """Return a run's score on each resample, as a share between 0 and 1.

    Args:
        frame: the run's predictions, as `read_predictions` returns them.
        metric: name of the score.
        counts: of shape (resamples, examples).
        bleu_tokenizer: what splits texts into words for BLEU, by its name in sacreBLEU.

    Returns:
        Of shape (resamples,); nan where the score is not defined.

    Raises:
        KeyError: the metric cannot be computed from what the frame has; it names what is missing.
    """
    score = _prepare(frame, metric, bleu_tokenizer)
    step = max(1, COUNTS_AT_ONCE // max(counts.shape[1], 1))
    parts = (counts[start : start + step] for start in range(0, len(counts), step))
    # 32 bits hold a count exactly, and their products with others are several times as fast.
    return np.concatenate([score(part.astype(np.float32)) for part in parts])


def _prepare(frame: DataFrame, metric: str, bleu_tokenizer: str) -> Score:
    if metric in frame:  # the task says the value of each example
        return _mean(frame[metric])
    if metric in ("bleu", "chrf"):
        return _corpus(frame, metric, bleu_tokenizer)
    if metric not in _METRICS:
        raise KeyError(metric)
    return _METRICS[metric](frame)


def _mean(values: Any) -> Score:
    each = np.asarray(values, np.float32)
    return lambda counts: np.asarray(counts @ each / len(each), np.float64)


def _accuracy(frame: DataFrame) -> Score:
    return _mean(frame["label"] == frame["prediction"])


def _absolute_error(frame: DataFrame) -> Score:
    true, predicted = _numbers(frame)
    return _mean(np.abs(true - predicted))


def _squared_error(frame: DataFrame) -> Score:
    true, predicted = _numbers(frame)
    return _mean((true - predicted) ** 2)


def _of_confusion(compute: Callable[[Array], Array], frame: DataFrame) -> Score:
    """Return a score of the confusion matrices, of shape (resamples, true class, predicted)."""
    classes = _classes(frame)
    number = {name: index for index, name in enumerate(classes)}
    true, predicted = (
        np.array([number[name] for name in frame[column].tolist()])
        for column in ("label", "prediction")
    )
    present, cell = np.unique(true * len(classes) + predicted, return_inverse=True)
    of_cell = np.zeros((len(frame), len(present)), np.float32)
    of_cell[np.arange(len(frame)), cell] = 1

    def score(counts: Array) -> Array:
        confusion = np.zeros((len(counts), len(classes) ** 2))
        confusion[:, present] = counts @ of_cell
        return compute(confusion.reshape(-1, len(classes), len(classes)))

    return score


def _classes(frame: DataFrame) -> list[Any]:
    """Return the classes in the order of their numbers, which is that of their probabilities."""
    prefix = "probabilities."
    named = [str(name).removeprefix(prefix) for name in frame if str(name).startswith(prefix)]
    return named or sorted({*frame["label"], *frame["prediction"]})


def _matthews(confusion: Array) -> Array:
    """Matthews correlation for any number of classes (Gorodkin, 2004); 0 for constant values."""
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    examples = true.sum(axis=1)
    correct = np.trace(confusion, axis1=1, axis2=2)
    covariance = correct * examples - (true * predicted).sum(axis=1)
    spread = (examples**2 - (predicted**2).sum(axis=1)) * (examples**2 - (true**2).sum(axis=1))
    defined = spread > 0
    return np.asarray(np.where(defined, covariance, 0) / np.sqrt(np.where(defined, spread, 1)))


def _f1_by_class(confusion: Array) -> tuple[Array, Array]:
    """Return the F1 of each class, and whether it occurs; shapes (resamples, classes)."""
    both = confusion.sum(axis=2) + confusion.sum(axis=1)
    hits = 2 * np.diagonal(confusion, axis1=1, axis2=2)
    return np.divide(hits, both, out=np.zeros_like(both), where=both > 0), both > 0


def _f1(confusion: Array) -> Array:
    values, _ = _f1_by_class(confusion)
    return np.asarray(values[:, 1])


def _f1_macro(confusion: Array) -> Array:
    values, occurs = _f1_by_class(confusion)
    return np.asarray(values.sum(axis=1) / occurs.sum(axis=1))


def _pearson(frame: DataFrame) -> Score:
    true, predicted = _numbers(frame)
    return lambda counts: _correlation(true, predicted, counts)


def _spearman(frame: DataFrame) -> Score:
    true, predicted = _numbers(frame)

    def score(counts: Array) -> Array:
        return _correlation(_mean_ranks(true, counts), _mean_ranks(predicted, counts), counts)

    return score


def _numbers(frame: DataFrame) -> tuple[Array, Array]:
    return np.asarray(frame["label"], np.float64), np.asarray(frame["prediction"], np.float64)


def _correlation(true: Array, predicted: Array, counts: Array) -> Array:
    """Return Pearson's correlation; 0 for constant predictions, nan for constant true values.

    Args:
        true: of shape (examples,) or (resamples, examples).
        predicted: likewise.
        counts: of shape (resamples, examples).
    """
    total = counts.sum(axis=1, keepdims=True)

    def center(values: Array) -> Array:
        whole = values - values.mean()  # for the precision of the sums
        return np.asarray(whole - (counts * whole).sum(axis=1, keepdims=True) / total)

    one, two = center(true), center(predicted)
    covariance = (counts * one * two).sum(axis=1)
    spread_true, spread_predicted = (counts * one**2).sum(axis=1), (counts * two**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = covariance / np.sqrt(spread_true * spread_predicted)
    constant = spread_predicted <= 1e-12 * max(float(np.square(predicted).max()), 1e-300)
    return np.where(constant & (spread_true > 0), 0.0, found)


def _mean_ranks(values: Array, counts: Array) -> Array:
    """Return each example's rank in each resample; equal values share their mean rank."""
    present, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(present)))
    size = np.add.reduceat(counts[:, order], starts, axis=1)
    ranks = np.cumsum(size, axis=1) - (size - 1) / 2
    return np.asarray(ranks[:, group])


def _corpus(frame: DataFrame, metric: str, bleu_tokenizer: str) -> Score:
    """Return BLEU or chrF, which sacreBLEU computes from sums over the examples."""
    import sacrebleu

    computed: Any = (
        sacrebleu.BLEU(tokenize=bleu_tokenizer) if metric == "bleu" else sacrebleu.CHRF()
    )
    texts = [frame[column].tolist() for column in ("prediction", "reference")]
    each = np.asarray(computed._extract_corpus_statistics(texts[0], [texts[1]]), np.float64)

    def score(counts: Array) -> Array:
        sums = (counts @ each).astype(int).tolist()
        return np.array([computed._compute_score_from_stats(each).score / 100 for each in sums])

    return score


_METRICS: dict[str, Callable[[Any], Score]] = {
    "accuracy": _accuracy,
    "f1": lambda frame: _of_confusion(_f1, frame),
    "f1_macro": lambda frame: _of_confusion(_f1_macro, frame),
    "matthews_correlation": lambda frame: _of_confusion(_matthews, frame),
    "pearson": _pearson,
    "spearmanr": _spearman,
    "mae": _absolute_error,
    "mse": _squared_error,
}
