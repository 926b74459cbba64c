"""A whole table, computed again from the stored predictions by code that shares none with ours.

The records are those of a table of two backbones, four tasks and five rows over ten seeds, with
predictions that were drawn at random. The metrics, means, intervals, p-values, corrections and
verdicts are computed here from their definitions. The error rates are those of many tables without
an effect.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from scipy import stats

from exhaustive import EXHAUSTIVE
from sparsead.commands import table
from sparsead.report.claims import judge_claims
from sparsead.report.comparisons import compare_rows, mark_cells
from sparsead.runs.predictions import write_predictions
from sparsead.runs.record import write_result
from sparsead.runs.staging import staged
from sparsead.tables.cells import Cell, Column, Row, TableSpec, list_cells
from sparsead.tables.files import load_table
from sparsead.tasks.metrics import TaskScores
from synthetic import synthetic_result
from table_states import measured

TABLE = """\
backbones: [tiny-bert, tiny-roberta]
columns:
  - {task: demo_cola, metric: matthews_correlation, name: cola}
  - {task: demo_mrpc, metric: accuracy, name: mrpc}
  - {task: demo_stsb, metric: pearson, name: stsb}
  - {task: demo_rte, metric: accuracy, name: rte}
average: [cola, mrpc, stsb]
tested: [mrpc]
baseline: dense
comparisons: [better, close, worse]
rows:
  - {name: dense, overrides: [pruner=none]}
  - {name: better, overrides: [pruner=snip]}
  - {name: close, overrides: [pruner=random]}
  - {name: worse, overrides: [pruner=magnitude]}
  - {name: fallen, overrides: [pruner=grasp]}
claims:
  - {text: a, kind: beats, row: better, over: dense}
  - {text: b, kind: beats, row: better, over: dense, points: 2, column: mrpc}
  - {text: c, kind: best, row: better, rows: [close, worse]}
  - {text: d, kind: rises, rows: [worse, dense, better]}
  - {text: e, kind: within, row: close, of: dense, points: 3}
  - {text: f, kind: keeps, pairs: [[dense, close], [dense, worse]], points: 1}
  - {text: g, kind: comparable, rows: [close], of: dense, points: 3, columns: [avg, mrpc]}
  - {text: h, kind: comparable, rows: [worse], of: dense, points: 3}
  - {text: i, kind: beats, row: fallen, over: dense}
  - {text: j, kind: beats, row: dense, over: better, column: rte}
"""
BACKBONES = ("tiny-bert", "tiny-roberta")
COLUMNS = ("cola", "mrpc", "stsb", "rte")
AVERAGED = ("cola", "mrpc", "stsb")
ROWS = ("dense", "better", "close", "worse", "fallen")
SEEDS = range(1, 11)
EXAMPLES = 300
CLASSES = ("no", "yes")
SKILL = {"dense": 0.70, "better": 0.78, "close": 0.70, "worse": 0.62, "fallen": 0.70}
"""The share of predictions that are right beyond chance, or the weight of the true number."""

T_9 = 2.2621571628
"""The 97.5 % quantile of Student's distribution with nine degrees of freedom, from a table."""


def draw_records(cell: Cell) -> list[dict[str, Any]]:
    """Draw the predictions of a run; row `fallen` collapses in one of its seeds."""
    number = (
        [*ROWS].index(cell.row),
        [*COLUMNS].index(cell.column),
        [*BACKBONES].index(cell.backbone),
    )
    draw = np.random.default_rng([cell.seed, *number])
    truth = np.random.default_rng([*COLUMNS].index(cell.column))
    skill = SKILL[cell.row] + 0.01 * draw.standard_normal()
    if cell.column == "stsb":
        true = truth.uniform(0, 5, EXAMPLES)
        said = skill * true + (1 - skill) * draw.uniform(0, 5, EXAMPLES)
        if is_fallen(cell):
            said[:] = 2.5
        return [
            {"id": str(i), "label": float(t), "prediction": float(np.float32(p))}
            for i, (t, p) in enumerate(zip(true, said, strict=True))
        ]
    labels = truth.random(EXAMPLES) < 0.6
    right = draw.random(EXAMPLES) < skill
    guesses = np.where(right, labels, draw.random(EXAMPLES) < 0.5)
    if is_fallen(cell):
        guesses[:] = True
    return [
        {"id": str(i), "label": CLASSES[int(t)], "prediction": CLASSES[int(p)]}
        for i, (t, p) in enumerate(zip(labels, guesses, strict=True))
    ]


def is_fallen(cell: Cell) -> bool:
    return cell.row == "fallen" and cell.seed == 4 and cell.column in ("cola", "stsb")


def write(cell: Cell) -> None:
    """Write a run's record: scores as a training computes them, and the predictions."""
    records = draw_records(cell)
    metric = {"cola": "matthews_correlation", "stsb": "pearson"}.get(cell.column, "accuracy")
    regression = cell.column == "stsb"
    said, true = (
        [r[key] if regression else CLASSES.index(r[key]) for r in records]
        for key in ("prediction", "label")
    )
    scores = TaskScores([metric], regression).compute(predictions=said, references=true)
    with staged(cell.request.folder) as staging:
        described = write_predictions(staging, "validation", records, cell.request.identity)
        result = synthetic_result(cell.request) | {
            "scores": scores,
            "collapsed": len(set(said)) == 1,
            "higher_is_better": True,
            "history": [],
            "predictions": {"validation": described},
        }
        write_result(staging, result, "")


# The recomputation. ------------------------------------------------------------------------------


def score_again(folder: Path, column: str) -> float:
    """Return the score in percent from the stored predictions, by the metric's definition."""
    stored = pyarrow.parquet.read_table(folder / "predictions-validation.parquet").to_pylist()
    pairs = [(row["prediction"], row["label"]) for row in stored]
    if column == "stsb":
        return 100 * pearson([float(p) for p, _ in pairs], [float(t) for _, t in pairs])
    if column == "cola":
        return 100 * matthews(pairs)
    return 100 * sum(1 for p, t in pairs if p == t) / len(pairs)


def matthews(pairs: Sequence[tuple[str, str]]) -> float:
    count = {(p, t): 0 for p in CLASSES for t in CLASSES}
    for pair in pairs:
        count[pair] += 1
    tp, tn, fp, fn = (
        count[c] for c in (("yes", "yes"), ("no", "no"), ("yes", "no"), ("no", "yes"))
    )
    below = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return float((tp * tn - fp * fn) / below) if below else 0.0


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    if max(x) == min(x):
        return 0.0
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    squares = sum((a - mean_x) ** 2 for a in x) * sum((b - mean_y) ** 2 for b in y)
    return float(above / math.sqrt(squares))


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum((v - mean(values)) ** 2 for v in values) / (len(values) - 1))


SIGNS = np.array(list(product((1, -1), repeat=10)))
"""All 1,024 assignments of signs to ten differences; the first leaves them as they are."""


def p_greater(differences: Sequence[float]) -> float:
    sums = SIGNS @ np.array(differences)
    return float(np.mean(sums >= sums[0] - 1e-9))


def p_two_sided(differences: Sequence[float]) -> float:
    return min(1.0, 2 * min(p_greater(differences), p_greater([-d for d in differences])))


def correct(p_values: Sequence[float]) -> list[float]:
    """Return the p-values after Holm: the step-down procedure, as its definition has it."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    stepped = [(len(p_values) - rank) * p_values[i] for rank, i in enumerate(order)]
    return [min(1.0, max(stepped[: order.index(i) + 1])) for i in range(len(p_values))]


def resample(folder: Path, column: str, counts: np.ndarray) -> np.ndarray:
    """Return the score in percent with each example counted so many times, by resample."""
    stored = pyarrow.parquet.read_table(folder / "predictions-validation.parquet")
    said, true = (np.array(stored[name].to_pylist()) for name in ("prediction", "label"))
    total = counts.sum(axis=1)
    if column == "stsb":
        mean_x, mean_y = counts @ said / total, counts @ true / total
        covariance = counts @ (said * true) / total - mean_x * mean_y
        spread = (counts @ said**2 / total - mean_x**2) * (counts @ true**2 / total - mean_y**2)
        return np.asarray(100 * covariance / np.sqrt(spread))
    if column != "cola":
        return np.asarray(100 * (counts @ (said == true)) / total)
    tp, tn, fp, fn = (
        counts @ ((said == p) & (true == t)).astype(float)
        for p, t in (("yes", "yes"), ("no", "no"), ("yes", "no"), ("no", "yes"))
    )
    below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.asarray(100 * (tp * tn - fp * fn) / below)


def cross_again(differences: Sequence[float], resampled: np.ndarray) -> tuple[float, float]:
    """Return half the width and the p-value of the interval that counts seeds and examples.

    Seeds and examples are crossed random factors; the variance of the mean over n seeds is that
    between the seeds over n, plus that of the mean on resampled examples, less their interaction,
    which is in both; Satterthwaite's degrees of freedom. It is never narrower than that over seeds.
    """
    n = len(differences)
    seeds = deviation(differences) ** 2 / n
    examples = float(np.var(resampled.mean(axis=0), ddof=1))
    single = float(np.mean([np.var(each, ddof=1) for each in resampled]))
    interaction = max(single - examples, 0) / (n - 1)
    whole = max(seeds + max(examples - interaction, 0), examples / 2)
    found = []
    for variance, freedom in ((whole, whole**2 * (n - 1) / seeds**2), (seeds, n - 1)):
        half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(variance)
        p = 2 * float(stats.t.sf(abs(mean(differences)) / math.sqrt(variance), freedom))
        found.append((half, p))
    return max(half for half, _ in found), max(p for _, p in found)


Scores = dict[tuple[str, str, str], list[float]]
"""By backbone, row and column, `avg` among them: the scores of the seeds 1 to 10."""


def judge_again(scores: Scores) -> list[tuple[str, str, float, float]]:
    """Return text, backbone, p for and p against each claim, before the correction."""

    def differences(backbone: str, row: str, of: str, column: str = "avg") -> list[float]:
        pairs = zip(scores[backbone, row, column], scores[backbone, of, column], strict=True)
        return [one - other for one, other in pairs]

    def above(paired: Sequence[float], bound: float = 0.0) -> tuple[float, float]:
        shifted = [d - bound for d in paired]
        return p_greater(shifted), p_greater([-d for d in shifted])

    def within(paired: Sequence[float], margin: float) -> tuple[float, float]:
        lower, upper = above(paired, -margin), above([-d for d in paired], -margin)
        return max(lower[0], upper[0]), min(1.0, 2 * min(lower[1], upper[1]))

    def claims(b: str) -> Mapping[str, list[tuple[float, float]]]:
        close, worse = differences(b, "close", "dense"), differences(b, "worse", "dense")
        return {
            "a": [above(differences(b, "better", "dense"))],
            "b": [above(differences(b, "better", "dense", "mrpc"), 2)],
            "c": [above(differences(b, "better", row)) for row in ("close", "worse")],
            "d": [above([-d for d in worse]), above(differences(b, "better", "dense"))],
            "e": [above(close, -3)],
            "f": [above(close, -1), above(worse, -1)],
            "g": [within(close, 3), within(differences(b, "close", "dense", "mrpc"), 3)],
            "h": [within(worse, 3)],
            "i": [above(differences(b, "fallen", "dense"))],
            "j": [above(differences(b, "dense", "better", "rte"))],
        }

    return [
        (text, backbone, max(p for p, _ in parts), min(correct([p for _, p in parts])))
        for text in "abcdefghij"
        for backbone in BACKBONES
        for parts in [claims(backbone)[text]]
    ]


def decide(text: str, p_holds: float, p_fails: float) -> str:
    if text == "i":
        return "cannot be told: seeds failed or collapsed"
    if p_holds <= 0.05:
        return "holds"
    return "does not hold" if p_fails <= 0.05 else "cannot be told with 10 seeds"


@pytest.mark.slow
def test_every_number_of_a_table_is_what_its_predictions_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(TABLE, "utf-8")
    scores: Scores = {}
    drawn: dict[tuple[str, str, str], list[np.ndarray]] = {}
    draw = np.random.default_rng(77)
    shares = np.full(EXAMPLES, 1 / EXAMPLES)
    counts = {c: draw.multinomial(EXAMPLES, shares, 2000).astype(float) for c in COLUMNS}
    for cell in list_cells(load_table("own.yaml")):
        write(cell)
        place = cell.backbone, cell.row, cell.column
        folder = cell.request.folder
        scores.setdefault(place, []).append(score_again(folder, cell.column))
        if cell.row != "fallen":
            drawn.setdefault(place, []).append(resample(folder, cell.column, counts[cell.column]))
    for backbone, row in product(BACKBONES, ROWS):
        tasks = [scores[backbone, row, column] for column in AVERAGED]
        scores[backbone, row, "avg"] = [mean(each) for each in zip(*tasks, strict=True)]
        if row != "fallen":
            each = [drawn[backbone, row, column] for column in AVERAGED]
            drawn[backbone, row, "avg"] = list(np.mean(each, axis=0))

    monkeypatch.setattr("sys.argv", ["sparsead", "own.yaml", "--format", "json"])
    table.main()
    shown = json.loads(capsys.readouterr().out)

    assert shown["seeds"] == 10
    cells = {(c["backbone"], c["row"], c["column"]): c for c in shown["cells"]}
    assert cells.keys() == scores.keys()
    for place, values in scores.items():
        cell = cells[place]
        assert (cell["n"], cell["failed"]) == (10, 0), place
        assert cell["mean"] == pytest.approx(mean(values), abs=1e-4), place
        assert cell["sd"] == pytest.approx(deviation(values), abs=1e-4), place
        _, row, column = place
        assert cell["collapsed"] == (row == "fallen" and column in ("cola", "stsb", "avg")), place

    compared = {(c["backbone"], c["row"], c["column"]): c for c in shown["comparisons"]}
    pairs = {
        (backbone, row, column): [
            one - other
            for one, other in zip(
                scores[backbone, row, column], scores[backbone, "dense", column], strict=True
            )
        ]
        for backbone in BACKBONES
        for row in ("better", "close", "worse")
        for column in ("mrpc", "rte", "avg")
    }
    assert compared.keys() == pairs.keys()
    p_values = [p_two_sided(differences) for differences in pairs.values()]
    for (place, differences), p, p_holm in zip(
        pairs.items(), p_values, correct(p_values), strict=True
    ):
        half = T_9 * deviation(differences) / math.sqrt(10)
        again = compared[place]
        assert (again["n"], again["baseline"]) == (10, "dense")
        assert again["difference"] == pytest.approx(mean(differences), abs=1e-4), place
        assert again["low"] == pytest.approx(mean(differences) - half, abs=1e-4), place
        assert again["high"] == pytest.approx(mean(differences) + half, abs=1e-4), place
        assert (again["p"], again["p_holm"]) == pytest.approx((p, p_holm)), place
        # Both are of resamples, which differ: the 2,000 here give a variance to within about 3 %.
        backbone, row, column = place
        resampled = np.array(drawn[place]) - np.array(drawn[backbone, "dense", column])
        half, p_crossed = cross_again(differences, resampled)
        assert (again["high_crossed"] - again["low_crossed"]) / 2 == pytest.approx(half, rel=0.1)
        assert again["p_crossed"] == pytest.approx(p_crossed, abs=0.03), place
    crossed = correct([c["p_crossed"] for c in compared.values()])
    assert [c["p_crossed_holm"] for c in compared.values()] == pytest.approx(crossed)

    judged = judge_again(scores)
    holds = correct([p_holds for _, _, p_holds, _ in judged])
    fails = correct([p_fails for *_, p_fails in judged])
    claims = {(claim["text"], claim["backbone"]): claim for claim in shown["claims"]}
    assert len(claims) == len(judged) == 20
    for (text, backbone, *raw), p_holds, p_fails in zip(judged, holds, fails, strict=True):
        claim = claims[text, backbone]
        assert [claim["p_holds"], claim["p_fails"]] == pytest.approx(raw), (text, backbone)
        found = [claim["p_holds_holm"], claim["p_fails_holm"]]
        assert found == pytest.approx([p_holds, p_fails]), (text, backbone)
        assert claim["verdict"] == decide(text, p_holds, p_fails), (text, backbone)
    assert {claim["verdict"].partition(" with")[0] for claim in claims.values()} == {
        "holds",
        "does not hold",
        "cannot be told",
        "cannot be told: seeds failed or collapsed",
    }


# Error rates. ------------------------------------------------------------------------------------

NULL = TableSpec(
    name="null",
    title="No effect",
    rows=[Row(name) for name in ("dense", "a", "b", "c", "lower")],
    columns=[Column("one", "accuracy"), Column("two", "accuracy")],
    backbones=["small"],
    seeds=10,
    average=["one", "two"],
    baseline="dense",
    comparisons=["a", "b", "c"],
    claims=[
        {"text": "beats", "kind": "beats", "row": "a", "over": "dense"},
        {"text": "best", "kind": "best", "row": "b", "rows": ["a", "c"]},
        {"text": "comparable", "kind": "comparable", "rows": ["lower"], "of": "dense", "points": 1},
    ],
)
"""No row differs from the dense one but `lower`, which is worse by the margin of the last claim."""

LOSS = {"lower": 0.01}


def without_effect(draw: np.random.Generator) -> Callable[[Cell], Mapping[str, float | None]]:
    """Return scores in which a seed has an effect of its own, which all rows share."""
    shared = draw.normal(0.8, 0.02, len(SEEDS))

    def score(cell: Cell) -> Mapping[str, float | None]:
        own = float(draw.normal(0, 0.01))
        return {"accuracy": float(shared[cell.seed - 1]) + own - LOSS.get(cell.row, 0.0)}

    return score


@pytest.mark.slow
def test_of_many_tables_without_an_effect_no_more_are_wrong_than_is_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At most 5 % show a significant difference, a wrong `holds` or a wrong `does not hold`."""
    draw = np.random.default_rng(20)
    wrong = dict.fromkeys(("significant", "bold", "holds", "does not hold"), 0)
    tables = 1000 if EXHAUSTIVE else 250
    for _ in range(tables):
        results = measured(NULL, without_effect(draw), monkeypatch)
        compared = compare_rows(results)
        verdicts = {verdict.verdict for verdict in judge_claims(results)}
        wrong["significant"] += any(each.p_holm <= 0.05 for each in compared)
        wrong["bold"] += "bold" in mark_cells(results, compared).values()
        wrong["holds"] += "holds" in verdicts
        wrong["does not hold"] += "does not hold" in verdicts
    chance = 1.645 * math.sqrt(0.05 * 0.95 / tables)
    assert all(count / tables <= 0.05 + chance for count in wrong.values()), wrong
    assert wrong["significant"] > 0.02 * tables, "the tests are to be no more cautious than needed"
    assert wrong["bold"] <= wrong["significant"]
