"""A table whose runs keep their predictions: its intervals count seeds and examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t
from sklearn.metrics import matthews_corrcoef

from exhaustive import EXHAUSTIVE
from sparsead.report.examples import ResampledScores
from sparsead.report.resampling import draw_resamples
from sparsead.report.results import Results
from sparsead.report.tabulate import render
from sparsead.report.view import build_view
from sparsead.runs.predictions import predictions_file, write_predictions
from sparsead.runs.record import RunRecord
from sparsead.tables.cells import Cell, Column, Row, TableSpec
from table_states import cells, measured

EXAMPLES = {"rte": 150, "cola": 200}
TABLE = TableSpec(
    name="kept",
    title="Kept",
    rows=[Row("dense"), Row("snip-40")],
    columns=[
        Column("rte", "accuracy"),
        Column("cola", "matthews_correlation"),
    ],
    backbones=["small"],
    seeds=6,
    average=["rte", "cola"],
    tested=["rte"],
    baseline="dense",
    comparisons=["snip-40"],
)
SKILL = {"dense": 0.7, "snip-40": 1.0}


def true_classes(column: str) -> np.ndarray:
    return np.random.default_rng(EXAMPLES[column]).choice([-1, 1], EXAMPLES[column])


def predicted_classes(cell: Cell) -> np.ndarray:
    rng = np.random.default_rng([cell.seed, len(cell.row), len(cell.column)])
    shared = np.random.default_rng(EXAMPLES[cell.column] + 1).normal(0, 0.7, EXAMPLES[cell.column])
    skill = SKILL[cell.row] + rng.normal(0, 0.1)
    noise = rng.normal(0, 0.5, EXAMPLES[cell.column])
    return np.where(skill * true_classes(cell.column) + shared + noise > 0, 1, -1)


def scored(true: np.ndarray, predicted: np.ndarray, column: str) -> float:
    if column == "cola":
        return float(matthews_corrcoef(true, predicted))
    return float((true == predicted).mean())


def score(cell: Cell) -> Mapping[str, float | None]:
    metric = next(each.metric for each in TABLE.columns if each.name == cell.column)
    return {metric: scored(true_classes(cell.column), predicted_classes(cell), cell.column)}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """The table, whose runs lie in a folder with their predictions."""
    return record_all(tmp_path, monkeypatch)


def record_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    found = measured(TABLE, score, monkeypatch)
    for place, seen in found.places.items():
        for seed, record in seen.records.items():
            (cell,) = [
                each
                for each in cells(TABLE)
                if (each.row, each.column, each.seed) == (place.row, place.column, seed)
            ]
            seen.records[seed] = keep(tmp_path / "runs" / record.folder.name, record, cell)
    return found


def keep(
    folder: Path, record: RunRecord, cell: Cell, splits: tuple[str, ...] = ("validation",)
) -> RunRecord:
    """Write the predictions of a run, the cell's on the last split, and return its record."""
    folder.mkdir(parents=True)
    names = {-1: "no", 1: "yes"}
    pairs = zip(true_classes(cell.column), predicted_classes(cell), strict=True)
    rows = [
        {
            "id": number,
            "label": names[int(true)],
            "prediction": names[int(guess)],
            "probabilities": {"no": 0.5, "yes": 0.5},
        }
        for number, (true, guess) in enumerate(pairs)
    ]
    described = {
        split: write_predictions(
            folder, split, rows if split == splits[-1] else rows[:3], folder.name
        )
        for split in splits
    }
    kept = {"identity": folder.name, "predictions": described}
    return RunRecord(folder, record.result | kept)


def comparison(results: Results, column: str) -> dict[str, Any]:
    content = json.loads(render(build_view(results), "json"))
    (found,) = [line for line in content["comparisons"] if line["column"] == column]
    return dict(found)


def outcomes(column: str, row: str) -> np.ndarray:
    """The predicted classes of a cell, of shape (seeds, examples)."""
    mine = [c for c in cells(TABLE) if (c.column, c.row) == (column, row)]
    return np.stack([predicted_classes(cell) for cell in mine])


def test_the_interval_of_an_accuracy_is_that_of_the_analysis_of_variance(results: Results) -> None:
    """Of means over examples the bootstrap variances are known without a bootstrap."""
    true = true_classes("rte")
    right = [100.0 * (outcomes("rte", row) == true) for row in ("snip-40", "dense")]
    difference = right[0] - right[1]
    n, m = difference.shape
    seeds = difference.mean(axis=1).var(ddof=1) / n
    examples = difference.mean(axis=0).var() / m
    both = (difference.var(axis=1).mean() / m - examples) / (n - 1)
    whole = seeds + examples - both
    freedom = whole**2 / (seeds**2 / (n - 1))
    parts = [(whole, freedom), (seeds, n - 1)]  # it is never narrower than that over the seeds
    half = max(t.ppf(0.975, free) * part**0.5 for part, free in parts)
    found = comparison(results, "rte")
    assert found["difference"] == pytest.approx(difference.mean())
    assert found["high_crossed"] - found["low_crossed"] == pytest.approx(2 * half, rel=0.02)
    assert found["high_crossed"] + found["low_crossed"] == pytest.approx(2 * difference.mean())
    expected = max(2 * t.sf(abs(difference.mean()) / part**0.5, free) for part, free in parts)
    assert found["p_crossed"] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("same_data", [True, False])
def test_data_sets_of_one_name_are_resampled_independently(
    same_data: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As data files of one name in different folders, which no more than the hashes tell apart."""
    columns = [Column("rte", "accuracy", name=name) for name in ("first", "second")]
    rte = next(cell for cell in cells(TABLE) if cell.column == "rte")
    table = replace(TABLE, columns=columns, average=[], tested=[], seeds=1)
    results = measured(table, lambda _: score(rte), monkeypatch)
    for place, found in results.places.items():
        record = keep(tmp_path / place.row / place.column, found.records[1], rte)
        record.result["config"]["task"] = {"name": "reviews"}
        data = "same" if same_data else place.column
        record.result["data"] = {"validation": {"examples": EXAMPLES["rte"], "sha256": data}}
        found.records[1] = record
    resampled = ResampledScores(results)
    first, second = (resampled.at("small", "dense", column.name) for column in columns)
    assert first is not None
    assert second is not None
    assert np.array_equal(first[1], second[1]) == same_data


@pytest.mark.slow
def test_the_interval_of_an_average_resamples_each_task_by_itself(results: Results) -> None:
    rng = np.random.default_rng(11)
    runs = {(c, row): outcomes(c, row) for c in EXAMPLES for row in ("snip-40", "dense")}
    drawn: list[np.ndarray] = []
    for _ in range(400 if EXHAUSTIVE else 150):
        per_task = []
        for column, m in EXAMPLES.items():
            chosen, true = rng.integers(m, size=m), true_classes(column)
            scores = [
                [100 * scored(true[chosen], run[chosen], column) for run in runs[column, row]]
                for row in ("snip-40", "dense")
            ]
            per_task.append(np.array(scores[0]) - np.array(scores[1]))
        drawn.append(np.mean(per_task, axis=0))
    resampled = np.stack(drawn)
    found = comparison(results, "avg")
    differences = [
        np.mean(
            [
                100
                * (
                    scored(true_classes(c), runs[c, "snip-40"][seed], c)
                    - scored(true_classes(c), runs[c, "dense"][seed], c)
                )
                for c in EXAMPLES
            ]
        )
        for seed in range(TABLE.seeds)
    ]
    n = TABLE.seeds
    seeds, examples = np.var(differences, ddof=1) / n, resampled.mean(axis=1).var(ddof=1)
    both = (resampled.var(axis=0, ddof=1).mean() - examples) / (n - 1)
    whole = seeds + examples - both
    parts = [(whole, whole**2 / (seeds**2 / (n - 1))), (seeds, n - 1)]
    half = max(t.ppf(0.975, free) * part**0.5 for part, free in parts)
    assert found["difference"] == pytest.approx(np.mean(differences))
    assert found["high_crossed"] - found["low_crossed"] == pytest.approx(2 * half, rel=0.15)


def test_the_table_says_which_interval_it_prints(results: Results) -> None:
    text = render(build_view(results), "md")
    assert "the variation over seeds and over evaluated examples, as two crossed random" in text
    assert "corrected by Holm's method over 2; p accounts for the seeds alone" in text
    assert "(seeds)" not in text
    found = comparison(results, "avg")
    interval = "<br>\\[{low_crossed:+.2f}, {high_crossed:+.2f}\\]"
    cell = ("{difference:+.2f}, p {p_holm:.3g}" + interval).format(**found)
    assert cell in text


def test_an_average_has_the_resamples_of_its_largest_task(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 150 examples the whole 10,000 are drawn, of 200 the 8,000 that are affordable here."""
    assert "(10,000 resamples of the examples" in render(build_view(results), "md")
    draw_resamples.cache_clear()
    monkeypatch.setattr("sparsead.report.resampling.MOST_COUNTS", 200 * 8000)
    assert "(8,000 to 10,000 resamples of the examples" in render(build_view(results), "md")
    draw_resamples.cache_clear()


def test_claims_say_which_interval_they_print(results: Results) -> None:
    claim = {"text": "SNIP is better", "kind": "beats", "row": "snip-40", "over": "dense"}
    shown = build_view(replace(results, table=replace(TABLE, claims=[claim])))
    (note,) = [note for note in shown.notes if note.startswith("Claims: ")]
    assert "In brackets: the 95 % t interval over the seeds" in note


def test_two_tests_are_corrected_together(results: Results) -> None:
    two = [comparison(results, column) for column in ("rte", "avg")]
    raw = [each["p_crossed"] for each in two]
    least, most = sorted(raw)
    corrected = sorted(each["p_crossed_holm"] for each in two)
    assert corrected == pytest.approx([min(1, 2 * least), max(2 * least, most)])


def test_a_score_of_another_split_is_resampled_from_that_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = "validation_mismatched_accuracy"
    table = replace(TABLE, columns=[Column("rte", metric)], average=[], tested=[])
    found = measured(table, lambda cell: {metric: score(cell)["accuracy"]}, monkeypatch)
    for place, seen in found.places.items():
        for seed, record in seen.records.items():
            cell = replace(cells(table)[0], row=place.row, seed=seed)
            folder = tmp_path / "runs" / record.folder.name
            splits = ("validation", "validation_mismatched")
            seen.records[seed] = keep(folder, record, cell, splits)
    assert comparison(found, "rte")["low_crossed"] is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("none", "keeps no predictions, because an earlier version recorded it"),
        ("missing", "predictions-validation.parquet: cannot be read"),
        ("damaged", "does not have the SHA-256 that result.json records"),
        ("score", "its predictions give accuracy"),
        ("examples", "was evaluated on other examples than other runs"),
    ],
)
def test_an_interval_counts_seeds_alone_where_the_predictions_do_not_allow_more(
    results: Results, damage: str, reason: str
) -> None:
    (place,) = [p for p in results.places if (p.row, p.column) == ("snip-40", "rte")]
    records = results.places[place].records
    record = records[2]
    file = predictions_file(record.folder, "validation")
    if damage == "none":
        del record.result["predictions"]
    if damage == "missing":
        file.unlink()
    if damage == "damaged":
        file.write_bytes(file.read_bytes()[:-1])
    if damage == "score":
        record.result["scores"]["accuracy"] += 0.001
        results.places[place].scores[2] += 0.1  # type: ignore[index]
    if damage == "examples":
        rows = [{"id": n, "label": "yes", "prediction": "yes"} for n in range(100)]
        described = write_predictions(record.folder, "validation", rows, record.folder.name)
        record.result["predictions"]["validation"] = described
    shown = build_view(results)
    (note,) = [note for note in shown.notes if "seeds alone: it holds" in note]
    assert f"({record.folder.name}" in note
    assert reason in note
    assert str(record.folder.parent) not in note
    text = render(shown, "md")
    assert text.count("(seeds) |") == 2
    for column in ("rte", "avg"):
        found = comparison(results, column)
        assert found["low_crossed"] is None
        assert found["p_crossed_holm"] is None
        assert found["low"] is not None


def test_on_fewer_than_a_hundred_examples_an_interval_counts_seeds_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that counted the examples would contain the true difference too seldom."""
    monkeypatch.setitem(EXAMPLES, "rte", 99)
    results = record_all(tmp_path, monkeypatch)
    for column in ("rte", "avg"):
        found = comparison(results, column)
        assert (found["low_crossed"], found["p_crossed"]) == (None, None)
        assert found["low"] is not None
    (note,) = [note for note in build_view(results).notes if "seeds alone: it holds" in note]
    assert "was evaluated on 99 examples, fewer than 100)" in note


def test_rows_that_agree_on_every_example_have_no_interval(results: Results) -> None:
    """That they do here does not show that they do elsewhere, with 95 % confidence or any other."""
    for place in [place for place in results.places if place.row == "snip-40"]:
        results.places[place] = results.places[place._replace(row="dense")]
    ends = ("low", "high", "low_crossed", "high_crossed", "p_crossed")
    for column in ("rte", "avg"):
        found = comparison(results, column)
        assert (found["difference"], found["p"]) == (0, 1)
        assert [found[end] for end in ends] == [None] * 5
    notes = build_view(results).notes
    assert any(note.startswith("Difference without an interval: from") for note in notes)


def test_fewer_than_five_seeds_are_said_to_be_too_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = build_view(measured(replace(TABLE, seeds=4), score, monkeypatch))
    (note,) = [note for note in few.notes if "seeds alone: it holds" in note]
    assert "(fewer than 5 paired seeds)" in note
