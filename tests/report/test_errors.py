from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from masked_runs import write_run
from sparsead.commands import show
from sparsead.errors import RecordError, SparseadError
from sparsead.report.errors import compare_errors, summarize_errors
from sparsead.report.outcome import describe_outcome, score_interval
from sparsead.runs.predictions import write_predictions
from sparsead.runs.record import RunRecord

CLASSES: list[dict[str, Any]] = [
    {"id": n, "label": label, "prediction": guess, "probabilities": {"no": 1 - p, "yes": p}}
    for n, (label, guess, p) in enumerate(
        [("no", "yes", 0.6), ("no", "no", 0.1), ("yes", "no", 0.02), ("no", "yes", 0.9)]
    )
]
NUMBERS: list[dict[str, Any]] = [
    {"id": n, "label": label, "prediction": guess}
    for n, (label, guess) in enumerate([(1.0, 1.5), (2.0, -1.0), (3.0, 3.0)])
]
ANSWERS: list[dict[str, Any]] = [
    {"id": f"q{n}", "prediction": text, "references": ["in Rome", "Rome"], "f1": score}
    for n, (text, score) in enumerate([("Rome", 1.0), ("Oslo" * 30, 0.0), ("in Rome now", 0.8)])
]


def run(
    outputs: Path, records: list[dict[str, Any]], scores: dict[str, float], name: str = "one"
) -> RunRecord:
    folder = write_run(outputs, name, {})
    result = RunRecord.read(folder).result
    described = write_predictions(folder, "validation", records, result["identity"])
    return RunRecord(folder, result | {"scores": scores, "predictions": {"validation": described}})


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their headings."""
    return [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in text.splitlines()
        if line.startswith("│")
    ]


def test_wrong_classes_are_listed_and_the_most_confident_come_first(tmp_path: Path) -> None:
    text = summarize_errors(run(tmp_path, CLASSES, {"accuracy": 0.25}))
    assert "mrpc · minilm · houlsby r=2" in text
    assert "validation: 3 of 4 examples are wrong" in text
    assert rows(text) == [
        ["no", "1", "2"],
        ["yes", "1", "0"],
        ["2", "yes", "no", "0.9800", "0.0200"],
        ["3", "no", "yes", "0.9000", "0.1000"],
        ["0", "no", "yes", "0.6000", "0.4000"],
    ]


def test_as_many_as_asked_for_are_listed(tmp_path: Path) -> None:
    text = summarize_errors(run(tmp_path, CLASSES, {"accuracy": 0.25}), count=1)
    assert rows(text)[2:] == [["2", "yes", "no", "0.9800", "0.0200"]]
    assert text.endswith("The first 1 of 3, the worst first.\n")


def test_a_run_without_an_error_lists_none(tmp_path: Path) -> None:
    text = summarize_errors(run(tmp_path, CLASSES[1:2], {"accuracy": 1.0}))
    assert "validation: 0 of 1 example are wrong" in text
    assert rows(text) == [["no", "1", "0"], ["yes", "0", "0"]]


@pytest.mark.parametrize(("examples", "expected"), [(99, None), (100, (72, 88))])
def test_a_score_has_an_interval_where_it_has_enough_examples(
    examples: int, expected: tuple[float, float] | None, tmp_path: Path
) -> None:
    guesses = ["no" if n % 5 else "yes" for n in range(examples)]
    records = [{"id": n, "label": "no", "prediction": guess} for n, guess in enumerate(guesses)]
    record = run(tmp_path, records, {"accuracy": guesses.count("no") / examples})
    interval = score_interval(record)
    if expected is None:
        assert interval is None
        return
    assert interval is not None
    # Of 100 examples of which 80 % are right, 72 to 88 are in the middle 95 % of the binomial.
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1)
    assert (interval.examples, interval.split) == (100, "validation")


def test_a_run_that_is_right_on_every_example_has_no_interval(tmp_path: Path) -> None:
    """All 300 resamples of it are right too, but at 99 % it would be so once in twenty times."""
    records = [{"id": n, "label": "no", "prediction": "no"} for n in range(300)]
    records[0] |= {"label": "yes", "prediction": "yes"}
    record, other = (run(tmp_path, records, {"accuracy": 1.0}, name) for name in ("one", "two"))
    assert score_interval(record) is None
    assert "no interval of accuracy: it is the same on every resample of the examples" in (
        describe_outcome(record)
    )
    said = " ".join(compare_errors(record, other).split())
    assert (
        "accuracy: +0.00 points from the other run (no interval: the difference is the same on "
        "every resample of the examples)"
    ) in said


def test_numbers_are_listed_by_their_distance_from_the_true_one(tmp_path: Path) -> None:
    text = summarize_errors(run(tmp_path, NUMBERS, {"pearson": 0.1}))
    assert "mean absolute error 1.1667 of 3 examples" in text
    assert [row[0] for row in rows(text)] == ["1", "0", "2"]
    assert rows(text)[0] == ["1", "2.0000", "-1.0000", "-3.0000"]


def test_answers_are_listed_by_their_score(tmp_path: Path) -> None:
    text = summarize_errors(run(tmp_path, ANSWERS, {"f1": 0.6}))
    assert "mean f1 0.6000 of 3 examples" in text
    first, second, third = rows(text)
    assert first == ["q1", "in Rome | Rome", f"{'Oslo' * 14}Osl…", "0.0000"]
    assert [second[0], third[0]] == ["q2", "q0"]


def test_predictions_that_tell_no_error_are_refused(tmp_path: Path) -> None:
    plain = [{"id": 1, "prediction": "a"}]
    with pytest.raises(RecordError, match="neither a column label nor a column bleu"):
        summarize_errors(run(tmp_path, plain, {"bleu": 0.6}))


OTHERS: dict[str, list[Any]] = {
    "classes": [each | {"prediction": guess} for each, guess in zip(CLASSES, "yyyn", strict=True)],
    "numbers": [each | {"prediction": 1.0} for each in NUMBERS],
    "answers": [each | {"f1": 0.9, "prediction": "Rome"} for each in ANSWERS],
}


def test_two_runs_are_compared_class_by_class(tmp_path: Path) -> None:
    names = {"y": "yes", "n": "no"}
    others = [each | {"prediction": names[each["prediction"]]} for each in OTHERS["classes"]]
    one = run(tmp_path, CLASSES, {"accuracy": 0.25})
    text = compare_errors(one, run(tmp_path, others, {"accuracy": 0.5}, "two"))
    # right are, of the first run, the second example, and of the other the third and the fourth
    counts = "both right 0, only the first 1, only the other 2, both wrong 1"
    assert f"{counts}; McNemar's exact test: p = 1\n" in text
    assert "accuracy: -25.00 points from the other run\n" in text  # of so few examples no interval
    assert "2 examples on which the first run is worse" in text
    assert rows(text) == [["2", "yes", "no", "yes", "1.0000"], ["3", "no", "yes", "no", "1.0000"]]


def test_a_difference_on_enough_examples_has_an_interval(tmp_path: Path) -> None:
    names = {"y": "yes", "n": "no"}
    others = [each | {"prediction": names[each["prediction"]]} for each in OTHERS["classes"]]
    one, other = (
        [each | {"id": 4 * turn + n} for turn in range(25) for n, each in enumerate(records)]
        for records in (CLASSES, others)
    )
    first = run(tmp_path, one, {"accuracy": 0.25})
    text = compare_errors(first, run(tmp_path, other, {"accuracy": 0.5}, "two"))
    found = re.search(r"accuracy: -25.00 \[(\S+), (\S+)\] points from the other run \(95 %", text)
    assert found is not None
    # Of 100 examples 25 differ by 1 and 50 by -1: a variance of 0.75 - 0.25² of one example.
    half = 100 * 1.96 * ((0.75 - 0.25**2) / 100) ** 0.5
    assert [float(end) for end in found.groups()] == pytest.approx([-25 - half, -25 + half], abs=2)
    assert "accounts for the choice of the examples, not for other seeds" in text


@pytest.mark.parametrize(
    ("kind", "scores", "worse"),
    [
        (
            "numbers",
            [{"mae": 3.5 / 3}, {"mae": 1.0}],
            [["1", "2.0000", "-1.0000", "1.0000", "2.0000"]],
        ),
        ("answers", [{"f1": 0.6}, {"f1": 0.9}], ["q1", "q2"]),
    ],
)
def test_two_runs_are_compared_by_what_their_examples_score(
    tmp_path: Path, kind: str, scores: list[dict[str, float]], worse: list[Any]
) -> None:
    mine = NUMBERS if kind == "numbers" else ANSWERS
    one = run(tmp_path, mine, scores[0])
    text = compare_errors(one, run(tmp_path, OTHERS[kind], scores[1], "two"))
    assert "McNemar" not in text
    listed = rows(text)
    if kind == "answers":
        assert [row[0] for row in listed] == worse
        assert "f1: -30.00 points" in text
    else:
        assert listed[0] == worse[0]
        assert f"mae: {100 * (3.5 - 3) / 3:+.2f} points" in text


HUNDRED = range(100)
OF_ANOTHER_METRIC: dict[str, tuple[str, list[dict[str, Any]], float]] = {
    "numbers with an accuracy": (
        "accuracy",
        [{"id": n, "label": float(n), "prediction": n + 0.3} for n in HUNDRED],
        1.0,
    ),
    "a weighted f1 of three classes": (
        "f1",
        [{"id": n, "label": "abc"[n % 3], "prediction": "abb"[n % 3]} for n in HUNDRED],
        0.56,
    ),
    "classes with an error": (
        "mae",
        [{"id": n, "label": "low", "prediction": "high"} for n in HUNDRED],
        2.0,
    ),
    "one class with an f1": (
        "f1",
        [{"id": n, "label": "low", "prediction": "low"} for n in HUNDRED],
        1.0,
    ),
}
"""Scores of a user's own metric that is called like one of the project's, and its predictions."""


@pytest.mark.parametrize("case", OF_ANOTHER_METRIC)
def test_a_score_of_another_metric_of_the_same_name_has_no_interval(
    tmp_path: Path, case: str
) -> None:
    metric, records, score = OF_ANOTHER_METRIC[case]
    record = run(tmp_path, records, {metric: score})
    assert score_interval(record) is None
    assert "interval" not in " ".join(describe_outcome(record))
    text = compare_errors(record, run(tmp_path, records, {metric: score - 0.47}, "two"))
    said = " ".join(text.split())
    assert f"{metric}: +47.00 points from the other run (no interval: " in said


def test_the_scores_of_a_split_are_compared_as_they_are_recorded(tmp_path: Path) -> None:
    one, two = (run(tmp_path, CLASSES, {"accuracy": 0.25}, name) for name in ("one", "two"))
    for record, score in ((one, 0.5), (two, 0.25)):
        described = write_predictions(record.folder, "test", CLASSES, record.result["identity"])
        record.result["predictions"]["test"] = described
        record.result["scores"]["test_accuracy"] = score
    assert "accuracy: +25.00 points" in compare_errors(one, two, "test")
    del two.result["scores"]["test_accuracy"]
    said = " ".join(compare_errors(one, two, "test").split())
    assert "accuracy: no difference (" in said
    assert "records no accuracy of test)" in said


def test_runs_on_other_examples_are_not_compared(tmp_path: Path) -> None:
    one = run(tmp_path, CLASSES, {"accuracy": 0.25})
    two = run(tmp_path, CLASSES[:3], {"accuracy": 0.25}, "two")
    with pytest.raises(RecordError, match="one and two: were not evaluated on the same examples"):
        compare_errors(one, two)


def test_the_command_shows_the_errors_of_one_run_or_of_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, records in (("one", CLASSES), ("two", CLASSES[::-1]), ("same", CLASSES)):
        record = run(tmp_path, records, {"accuracy": 0.25, "f1": 0.5}, name)
        (record.folder / "result.json").write_text(json.dumps(record.result))
    monkeypatch.setattr(
        "sys.argv", ["show", "one", "--errors", "--count", "1", "--outputs", str(tmp_path)]
    )
    show.main()
    alone = capsys.readouterr().out
    assert alone.endswith("The first 1 of 3, the worst first.\n")
    monkeypatch.setattr("sys.argv", [*sys.argv, "--against", "same"])
    show.main()
    text = capsys.readouterr().out
    assert text.startswith(alone)
    assert "both right 1, only the first 0, only the other 0, both wrong 3" in text
    monkeypatch.setattr("sys.argv", [*sys.argv[:-1], "two"])
    with pytest.raises(RecordError, match="were not evaluated on the same examples"):
        show.main()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "3"], "show: --count works only with --errors"),
        (["--split", "test"], "show: --split works only with --errors"),
        (["--errors", "--count", "0"], "show: --count 0: must be at least 1"),
        (["--errors"], "train it again with rerun=true"),
    ],
)
def test_options_without_effect_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    write_run(tmp_path, "one", {})
    monkeypatch.setattr("sys.argv", ["show", "one", *options, "--outputs", str(tmp_path)])
    with pytest.raises(SparseadError, match=message):
        show.main()
