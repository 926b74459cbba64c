"""The metrics against scikit-learn, scipy and their closed forms."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from sparsead.errors import ConfigError
from sparsead.tasks.answer_scores import AnswerScores
from sparsead.tasks.metrics import TaskScores, is_constant
from sparsead.tasks.text_scores import TextScores

BITS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


def test_a_metric_of_ones_own_gets_one_true_answer_and_the_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_answers.py").write_text(
        "def longer(true, predicted):\n    return len(true) - len(predicted)\n"
        "def distance(true, predicted):\n    return abs(len(true) - len(predicted))\n"
        "distance.higher_is_better = False\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    scores = AnswerScores(["own_answers.longer", "own_answers.distance", "f1"])
    found = scores.each(["a"], [["aaaa", "aa"]])
    assert found == {"longer": [3], "distance": [1], "f1": [0]}


@given(BITS)
def test_of_two_classes_they_are_the_closed_forms(pairs: list[tuple[int, int]]) -> None:
    predicted, true = np.array(pairs).T
    scores = TaskScores(["matthews_correlation", "accuracy", "f1"]).compute(
        predictions=predicted, references=true
    )
    tp, fp, fn, tn = (
        int(((predicted == p) & (true == t)).sum()) for p, t in ((1, 1), (1, 0), (0, 1), (0, 0))
    )
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    matthews = (tp * tn - fp * fn) / math.sqrt(spread) if spread else 0
    f1 = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0
    assert list(scores) == ["matthews_correlation", "accuracy", "f1"]
    assert list(scores.values()) == pytest.approx([matthews, (tp + tn) / len(pairs), f1])


@given(st.lists(st.tuples(st.integers(-9, 9), st.floats(0, 5)), min_size=3, max_size=40))
def test_correlations_are_the_closed_forms(pairs: list[tuple[float, float]]) -> None:
    predicted, true = np.array(pairs, dtype=float).T
    if np.ptp(predicted) == 0 or np.ptp(true) < 1e-3:
        return
    scores = TaskScores(["pearson", "spearmanr", "mae", "mse"], regression=True).compute(
        predictions=predicted, references=true
    )
    ranks = [stats.rankdata(values) for values in (predicted, true)]
    expected = [np.corrcoef(predicted, true)[0, 1], np.corrcoef(*ranks)[0, 1]]
    error = predicted - true
    expected += [abs(error).mean(), (error**2).mean()]
    assert list(scores.values()) == pytest.approx(expected, abs=1e-9)


def test_of_many_classes_they_are_those_of_scikit_learn() -> None:
    predicted, true = np.random.default_rng(0).integers(0, 4, (2, 300))
    names = ["f1_macro", "matthews_correlation"]
    scores = TaskScores(names).compute(predictions=predicted, references=true)
    assert scores["f1_macro"] == metrics.f1_score(true, predicted, average="macro")
    assert scores["matthews_correlation"] == metrics.matthews_corrcoef(true, predicted)


@pytest.mark.parametrize(
    ("predicted", "true", "reason"),
    [
        ([2.0, 2.0, 2.0], [2.0, 2.0, 2.0], "the true values are all alike"),
        ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], "the true values are all alike"),
        ([1.0], [2.0], "one example has no correlation"),
        ([1.0, math.nan, 2.0], [1.0, 2.0, 3.0], "a prediction is not finite"),
    ],
)
def test_a_correlation_that_is_not_defined_is_nan_and_said(
    predicted: list[float], true: list[float], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    scores = TaskScores(["pearson", "spearmanr"], regression=True).compute(
        predictions=predicted, references=true
    )
    assert all(math.isnan(value) for value in scores.values())
    assert f"pearson, spearmanr not defined: {reason}" in caplog.text


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_a_constant_prediction_scores_a_correlation_of_0(
    noise: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Rounding errors of a regression that has collapsed correlate by chance: here with 1."""
    predicted = [2.0 + noise * number for number in range(3)]
    scores = TaskScores(["pearson", "mae", "spearmanr"], regression=True).compute(
        predictions=predicted, references=[1.0, 2.0, 3.0]
    )
    assert scores == pytest.approx({"pearson": 0, "mae": 2 / 3, "spearmanr": 0})
    assert "pearson, spearmanr set to 0: the predictions are all alike" in caplog.text


@pytest.mark.parametrize(
    ("values", "constant"),
    [
        *(([1, 1], True), (["a", "a"], True), ([0.0, 0.0], True), ([-2.0, -2.0 - 1e-7], True)),
        *(([1, 2], False), (["a", "b"], False), ([2.0, 2.001], False), ([math.nan] * 2, False)),
        *(([1], False), ([], False)),
    ],
)
def test_values_are_constant_up_to_rounding(values: list[object], constant: bool) -> None:
    assert is_constant(values) is constant


def test_one_predicted_class_has_matthews_correlation_0() -> None:
    scores = TaskScores(["matthews_correlation"]).compute(predictions=[1, 1], references=[0, 1])
    assert scores == {"matthews_correlation": 0.0}


def test_a_metric_of_the_other_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.metrics=accuracy: .*pearson"):
        TaskScores(["accuracy"], regression=True)
    with pytest.raises(ConfigError, match="name one of accuracy"):
        TaskScores([])


OWN = """
def cost(references, predictions):
    return 5.0 * sum(p < t for p, t in zip(predictions, references, strict=True))

cost.higher_is_better = False
number = 3

def words(references, predictions):
    return "many"

def nothing(references, predictions):
    return None

def each(references, predictions):
    return [1.0, 2.0]

def one(references):
    return 1.0

def changing(references, predictions):
    references[:] = predictions
    return 1.0

def undirected(references, predictions):
    return 1.0

undirected.higher_is_better = "no"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_metrics.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_metrics", None)


def test_a_metric_of_ones_own_is_named_by_its_dotted_path(own: None) -> None:
    scores = TaskScores(["own_metrics.cost", "accuracy"])
    assert scores.higher_is_better == {"cost": False, "accuracy": True}
    found = scores.compute(predictions=[0, 1, 0], references=[1, 1, 0])
    assert found == {"cost": 5.0, "accuracy": pytest.approx(2 / 3)}
    texts = TextScores(["own_metrics.cost", "chrf"])
    assert texts.compute(predictions=["a", "b"], references=["b", "b"])["cost"] == 5.0


def test_a_metric_that_changes_what_it_gets_leaves_the_others_alone(own: None) -> None:
    scores = TaskScores(["own_metrics.changing", "accuracy"])
    found = scores.compute(predictions=[0, 1, 0], references=[1, 1, 0])
    assert found["accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_metrics.undirected", "its higher_is_better is 'no'; it must be True or False"),
        ("own_metrics.cots", "cannot be imported"),
        ("nowhere.cost", "cannot be imported"),
        ("own_metrics.number", "is neither a function nor a Metric"),
        ("own_metrics.one", "must take two arguments, the true and the predicted values"),
        ("own_metrics.accuracy", "accuracy is a metric of the project; give yours another name"),
        ("cost", "no such choice"),
    ],
)
def test_what_is_no_metric_is_refused(own: None, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        TaskScores([name])


@pytest.mark.parametrize(
    ("name", "returned"), [("words", "'many'"), ("nothing", "None"), ("each", "[1.0, 2.0]")]
)
def test_a_metric_that_returns_no_number_is_named(own: None, name: str, returned: str) -> None:
    message = f"task.metrics=own_metrics.{name}: returned {returned}, which is not a number"
    scores = (
        (TaskScores, [0, 1], [1, 1]),
        (TextScores, ["a", "b"], ["a", "c"]),
        (AnswerScores, ["a", "b"], [["a"], ["c"]]),
    )
    for kind, predictions, references in scores:
        with pytest.raises(ConfigError, match=re.escape(message)):
            kind([f"own_metrics.{name}"]).compute(predictions=predictions, references=references)


def test_a_function_of_a_library_that_fails_as_a_metric_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^task\.metrics=math\.hypot fails: TypeError: must be"):
        TaskScores(["math.hypot"]).compute(predictions=[0, 1], references=[1, 1])


@pytest.mark.slow
def test_a_run_that_scores_no_texts_does_not_import_what_scores_them() -> None:
    code = (
        "import sys; from sparsead.tasks.contract import TASKS\n"
        "TASKS.entries()\n"
        "assert not {'nltk', 'rouge_score', 'sacrebleu'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
