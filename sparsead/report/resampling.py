"""Scores on resampled examples, computed from the predictions that runs keep.

A resample draws as many examples as there are, with replacement (bootstrap; Efron, 1979). It is
given as counts: how often each example is drawn. All runs of a task are scored on the same
resamples, so that a difference between two runs is one on the same examples.

A variance over R resamples has a relative standard error of about √(2/R): 1.4 % for 10,000 of them,
4.5 % for 1,000.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsead.config.values.tasks import CONSTANT_WITHIN

if TYPE_CHECKING:
    from pandas import DataFrame

_MOST_RESAMPLES = 10_000
_FEWEST_RESAMPLES = 1000
MOST_COUNTS = 40_000_000
"""Counts of a task, each a byte, unless the fewest resamples have more."""
COUNTS_AT_ONCE = 4_000_000
"""Counts that are worked with at once, which bounds the memory: 32 MB of 64-bit numbers."""
_RESAMPLES_AT_ONCE = 250
"""Resamples that are worked with at once: of more, ranks and large confusions leave the cache."""

_MOSTLY_ENOUGH = 32
"""Of so many examples a resample nearly always draws one: it draws none in one of exp(32) cases."""

_ROUNDING = 1e-13

Array = np.ndarray[Any, np.dtype[Any]]
Score = Callable[[Array], Array]
"""From counts of shape (resamples, examples) to one score for each resample."""


def count_resamples(examples: int) -> int:
    """Return how many resamples of so many examples are drawn: 10,000, and fewer of many examples.

    They are as many as 40 million counts allow, but at least 1,000.
    """
    affordable = MOST_COUNTS // max(examples, 1)
    return max(_FEWEST_RESAMPLES, min(affordable, _MOST_RESAMPLES))


@lru_cache(maxsize=8)
def draw_resamples(name: str, examples: int) -> Array:
    """Return the counts of the resamples of a split's examples, always the same ones.

    Of more resamples the first are those of fewer.

    Args:
        name: of the examples; those of different names have independent resamples.
        examples: number of examples of the evaluated split.

    Returns:
        Of shape (resamples, examples), with as many resamples as `count_resamples` returns.
    """
    seed = int.from_bytes(sha256(name.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    counts = np.empty((count_resamples(examples), examples), np.uint8)
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
    step = max(1, min(COUNTS_AT_ONCE // max(counts.shape[1], 1), _RESAMPLES_AT_ONCE))
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
    """Return Pearson's correlation, of which every sum over the examples is a matrix product."""
    true, predicted = _numbers(frame)
    one, two = _rescale(true), _rescale(predicted)
    moments = np.stack([np.ones_like(one), one, two, one**2, one * two, two**2], axis=1)

    def score(counts: Array) -> Array:
        n, sum_1, sum_2, square_1, product, square_2 = (counts.astype(np.float64) @ moments).T
        spread_1 = _spread(square_1, sum_1, n)
        spread_2 = np.where(_predict_a_constant(frame, counts), 0.0, _spread(square_2, sum_2, n))
        return _correlation(product - sum_1 * sum_2 / n, spread_1, spread_2)

    return score


def _rescale(values: Array) -> Array:
    """Return the values minus their median, in units of the largest difference from it.

    The correlation is the same. Sums of squares of values that are far from 0, or of which one is
    far from all others, would lose digits.
    """
    return np.asarray((values - np.median(values)) / _reach(values))


def _reach(values: Array) -> float:
    """Return the largest difference from the median; 1 if all values are equal."""
    return float(np.abs(values - np.median(values)).max()) or 1.0


def _spread(squares: Array, total: Array, n: Array) -> Array:
    """Return the sum of squared differences from the mean; 0 if it is a rounding error."""
    spread = squares - total**2 / n
    return np.where(spread <= _ROUNDING * squares, 0.0, spread)


def _spearman(frame: DataFrame) -> Score:
    true, predicted = _numbers(frame)

    def score(counts: Array) -> Array:
        by_example = np.ascontiguousarray(counts.T, np.float64)  # rows are gathered faster
        one, two = _centered_ranks(true, by_example), _centered_ranks(predicted, by_example)
        product, spread_1, spread_2 = (
            np.einsum("ij,ij,ij->j", by_example, *pair)
            for pair in ((one, two), (one, one), (two, two))
        )
        spread_2 = np.where(_predict_a_constant(frame, counts), 0.0, spread_2)
        return _correlation(product, spread_1, spread_2)

    return score


def _predict_a_constant(frame: DataFrame, counts: Array) -> Array:
    """Tell for each resample whether its predictions are all alike, but not its true values.

    The task's own score has the same rule, so that a collapsed run has one score everywhere.
    """
    true, predicted = _numbers(frame)
    return _are_constant(predicted, counts) & ~_are_constant(true, counts)


def _are_constant(values: Array, counts: Array) -> Array:
    """Tell for each resample whether the drawn values are constant up to rounding errors."""
    rising = np.argsort(values)
    lowest = _find_first_drawn(values, counts, rising)
    highest = _find_first_drawn(values, counts, rising[::-1])
    largest = np.maximum(np.abs(highest), np.abs(lowest))
    return np.asarray(highest - lowest <= CONSTANT_WITHIN * largest)


def _find_first_drawn(values: Array, counts: Array, order: Array) -> Array:
    """Return for each resample the value of the drawn example that comes first in an order.

    Args:
        values: of shape (examples,).
        counts: of shape (resamples, examples).
        order: the numbers of all examples, of shape (examples,).
    """
    found = np.empty(len(counts))
    missing = np.arange(len(counts))
    for examples in np.split(order, [_MOSTLY_ENOUGH]):
        drawn = counts[np.ix_(missing, examples)] > 0
        found[missing] = values[examples][drawn.argmax(axis=1)]
        missing = missing[~drawn.any(axis=1)]
        if not missing.size:
            break
    return found


def _numbers(frame: DataFrame) -> tuple[Array, Array]:
    return np.asarray(frame["label"], np.float64), np.asarray(frame["prediction"], np.float64)


def _correlation(product: Array, spread_true: Array, spread_predicted: Array) -> Array:
    """Return the correlation; 0 for constant predictions, nan for constant true values.

    Args:
        product: sum of the products of differences from the mean.
        spread_true: sum of the squared differences of the true values.
        spread_predicted: likewise of the predictions.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        found = product / np.sqrt(spread_true * spread_predicted)
    found = np.where(spread_predicted == 0, 0.0, found)
    return np.where(spread_true == 0, np.nan, found)


def _centered_ranks(values: Array, counts: Array) -> Array:
    """Return each example's rank in each resample, minus the mean; equal values share a rank.

    Args:
        values: of shape (examples,).
        counts: of shape (examples, resamples), as is what is returned.
    """
    present, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(len(present)), side="right") - 1
    last = np.cumsum(counts[order], axis=0)[ends]
    before = np.vstack([np.zeros_like(last[:1]), last[:-1]])
    # The ranks of a group run from before + 1 to last, and all ranks from 1 to last[-1].
    ranks = (before + last - last[-1]) / 2
    return np.asarray(ranks[group])


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
