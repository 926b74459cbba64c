"""Scores on resampled examples against the libraries, on the examples written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    matthews_corrcoef,
    mean_absolute_error,
    mean_squared_error,
)

from sparsead.report.resampling import count_resamples, draw_resamples, score_resamples
from sparsead.tasks.metrics import TaskScores

OF_CLASSES: dict[str, Callable[..., Any]] = {
    "accuracy": accuracy_score,
    "f1": lambda true, guess: f1_score(true, guess, pos_label="b", zero_division=0),
    "f1_macro": lambda true, guess: f1_score(true, guess, average="macro", zero_division=0),
    "matthews_correlation": matthews_corrcoef,
}
OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "pearson": lambda true, guess: pearsonr(true, guess)[0],
    "spearmanr": lambda true, guess: spearmanr(true, guess)[0],
    "mae": mean_absolute_error,
    "mse": mean_squared_error,
}
WORDS = ["the", "a", "cat", "dog", "sat", "ran", "down", "home", "fast"]


def expected(frame: pd.DataFrame, compute: Callable[..., Any], counts: np.ndarray) -> list[float]:
    """The score of each resample, whose examples are written out as often as they are drawn."""
    found = []
    for row in counts:
        drawn = frame.loc[np.repeat(frame.index, row)]
        found.append(float(compute(drawn["label"].to_numpy(), drawn["prediction"].to_numpy())))
    return found


def counts_of(rng: np.random.Generator, examples: int, resamples: int = 6) -> np.ndarray:
    return rng.multinomial(examples, [1 / examples] * examples, resamples).astype(np.uint8)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from(sorted(OF_CLASSES)), st.sampled_from(["ab", "abc"]))
def test_scores_of_classes_are_those_of_scikit_learn(seed: int, name: str, classes: str) -> None:
    rng = np.random.default_rng(seed)
    classes = "ab" if name == "f1" else classes
    frame = pd.DataFrame({key: rng.choice([*classes], 12) for key in ("label", "prediction")})
    frame = frame.assign(**{f"probabilities.{each}": 0.5 for each in classes})
    counts = counts_of(rng, 12)
    found = score_resamples(frame, name, counts)
    assert found == pytest.approx(expected(frame, OF_CLASSES[name], counts))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from(sorted(OF_NUMBERS)), st.booleans())
def test_scores_of_numbers_are_those_of_the_libraries(seed: int, name: str, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 1, (30, 2))
    values = np.round(values * 2) / 2 if ties else values
    frame = pd.DataFrame(values, columns=["label", "prediction"])
    counts = counts_of(rng, 30)
    assert score_resamples(frame, name, counts) == pytest.approx(
        expected(frame, OF_NUMBERS[name], counts), nan_ok=True
    )


def test_a_constant_prediction_has_no_correlation() -> None:
    """As the task's own score; where all true values are equal nothing is defined."""
    frame = pd.DataFrame({"label": [1.0, 2.0, 3.0], "prediction": [0.1, 0.1, 0.1]})
    counts = np.array([[1, 1, 1], [2, 1, 0]])
    for metric in ("pearson", "spearmanr"):
        assert score_resamples(frame, metric, counts).tolist() == [0, 0]
    frame = pd.DataFrame({"label": [1.0, 1.0], "prediction": [0.1, 0.2]})
    assert np.isnan(score_resamples(frame, "pearson", np.array([[1, 1]]))).all()


def test_a_resample_is_constant_wherever_the_examples_that_it_draws_stand() -> None:
    """Also where none of those with the lowest or the highest predictions is drawn."""
    frame = pd.DataFrame({"label": np.arange(100.0), "prediction": np.arange(100.0)})
    frame.loc[50:59, "prediction"] = 55.0
    counts = np.zeros((3, 100), np.uint8)
    counts[0, 50:60] = 10  # of one prediction
    counts[1, 49:59] = 10  # of two
    counts[2] = 1
    scores = score_resamples(frame, "pearson", counts)
    assert scores[0] == 0
    assert (scores[1:] > 0.2).all()


@pytest.mark.parametrize("metric", ["pearson", "spearmanr"])
@pytest.mark.parametrize("spread", [1e-7, 5e-7, 2e-6])
def test_predictions_that_differ_by_rounding_are_scored_as_by_the_task(
    metric: str, spread: float
) -> None:
    """As those of a collapsed run, on all of its examples and on resampled ones."""
    rng = np.random.default_rng(1)
    predictions = np.float32(2.7 * (1 + rng.choice([0, spread], 300)))
    frame = pd.DataFrame({"label": rng.uniform(0, 5, 300), "prediction": predictions})
    scores = TaskScores([metric], regression=True)
    counts = np.vstack([np.ones((1, 300), np.uint8), counts_of(rng, 300, 3)])
    wanted = expected(
        frame,
        lambda true, predicted: scores.compute(predictions=predicted, references=true)[metric],
        counts,
    )
    assert score_resamples(frame, metric, counts) == pytest.approx(wanted, abs=1e-9)
    assert [value == 0 for value in wanted] == [spread < 1e-6] * 4


@pytest.mark.parametrize(("name", "words"), [("bleu", "13a"), ("bleu", "char"), ("chrf", "13a")])
def test_scores_of_a_corpus_are_those_of_sacrebleu(name: str, words: str) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            key: [" ".join(rng.choice(WORDS, 7)) for _ in range(9)]
            for key in ("prediction", "reference")
        }
    )
    counts = counts_of(rng, 9)
    compute: Any = {"bleu": sacrebleu.corpus_bleu, "chrf": sacrebleu.corpus_chrf}[name]
    wanted = []
    for row in counts:
        drawn = frame.loc[np.repeat(frame.index, row)]
        one, two = drawn["prediction"].tolist(), drawn["reference"].tolist()
        options = {"tokenize": words} if name == "bleu" else {}
        wanted.append(compute(one, [two], **options).score / 100)
    assert score_resamples(frame, name, counts, words) == pytest.approx(wanted)


def test_a_score_that_a_task_gives_by_example_is_their_mean() -> None:
    frame = pd.DataFrame({"id": ["1", "2"], "prediction": ["x", "y"], "rouge2": [0.25, 0.75]})
    counts = np.array([[1, 1], [2, 0]])
    assert score_resamples(frame, "rouge2", counts).tolist() == [0.5, 0.25]
    with pytest.raises(KeyError, match="rouge9"):
        score_resamples(frame, "rouge9", counts)


def test_resamples_are_drawn_with_replacement_and_always_the_same() -> None:
    counts = draw_resamples("mrpc", 408)
    assert counts.shape == (10_000, 408)
    assert (counts.sum(axis=1) == 408).all()
    # A count has the binomial distribution of 408 draws with probability 1/408.
    assert counts.var() == pytest.approx(1 - 1 / 408, abs=0.02)
    draw_resamples.cache_clear()
    assert (draw_resamples("mrpc", 408) == counts).all()
    assert (draw_resamples("rte", 408) != counts).any()


def test_fewer_resamples_are_drawn_of_many_examples() -> None:
    counted = [count_resamples(examples) for examples in (0, 1, 4000, 5000, 40_000, 400_000)]
    assert counted == [10_000, 10_000, 10_000, 8000, 1000, 1000]
    assert draw_resamples("mnli", 5000).shape == (8000, 5000)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("outlier", [0.0, 1e4])
def test_correlations_have_all_digits_whatever_the_unit(
    scale: float, offset: float, outlier: float
) -> None:
    """As with differences from the mean of each resample, instead of sums of squares and products.

    Of an outlier there are resamples without it, in which the other values hardly differ.
    """
    rng = np.random.default_rng(4)
    true = rng.normal(3, 1, 40)
    predicted = true + rng.normal(0, 1, 40)
    predicted[7] += outlier
    frame = pd.DataFrame({"label": true, "prediction": scale * (predicted + offset)})
    counts = counts_of(rng, 40, 300)
    wanted = expected(frame, OF_NUMBERS["pearson"], counts)
    assert score_resamples(frame, "pearson", counts) == pytest.approx(wanted, rel=0, abs=1e-9)


def test_many_examples_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(50, 2)), columns=["label", "prediction"])
    counts = counts_of(rng, 50, 40)
    whole = score_resamples(frame, "pearson", counts)
    monkeypatch.setattr("sparsead.report.resampling.COUNTS_AT_ONCE", 333)
    assert score_resamples(frame, "pearson", counts) == pytest.approx(whole, rel=1e-12)
