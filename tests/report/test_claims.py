from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from math import exp
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composing import compose
from sparsead.errors import ConfigError, RecordError
from sparsead.report.claims import Verdict, judge_claims
from sparsead.report.comparisons import compare_rows, mark_cells
from sparsead.report.histories import (
    Curve,
    find_reached,
    measure_advantages,
    measure_savings,
    read_curve,
)
from sparsead.report.results import Results
from sparsead.report.view import build_view
from sparsead.runs.record import RunRecord
from sparsead.tables.cells import Cell, Column, Row, TableSpec
from sparsead.tables.files import load_table
from table_states import measured

TABLE = TableSpec(
    name="claims",
    title="Claims",
    rows=[Row(name) for name in ("dense", "better", "best", "worse", "close")],
    columns=[Column("one", "accuracy", label="One")],
    backbones=["small"],
    seeds=5,
    average=["one"],
    baseline="dense",
)

# close loses 0.1 and 0.3 points in turn
GAIN = {"dense": 0.0, "better": 0.01, "best": 0.02, "worse": -0.02}


def score(cell: Cell) -> Mapping[str, float | None]:
    gain = GAIN.get(cell.row, -0.001 if cell.seed % 2 else -0.003)
    return {"accuracy": 0.7 + cell.seed / 50 + gain}


def verdict(monkeypatch: pytest.MonkeyPatch, seeds: int = 5, **claim: Any) -> Verdict:
    table = replace(TABLE, claims=[{"text": "claimed", **claim}], seeds=seeds)
    (found,) = judge_claims(measured(table, score, monkeypatch))
    return found


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"kind": "beats", "row": "better", "over": "dense"}, "holds"),
        ({"kind": "beats", "row": "worse", "over": "dense"}, "does not hold"),
        ({"kind": "within", "row": "close", "of": "dense", "points": 0.4}, "holds"),
        ({"kind": "within", "row": "worse", "of": "dense", "points": 0.4}, "does not hold"),
        ({"kind": "within", "row": "close", "of": "dense", "points": 0.2}, "cannot be told with 5"),
        ({"kind": "rises", "rows": ["dense", "better", "best"]}, "holds"),
        ({"kind": "rises", "rows": ["dense", "better", "dense"]}, "cannot be told with 5"),
        ({"kind": "rises", "rows": ["dense", "worse"]}, "does not hold"),
        ({"kind": "keeps", "pairs": [["dense", "better"], ["worse", "best"]]}, "holds"),
        ({"kind": "keeps", "pairs": [["dense", "close"]], "points": 0.4}, "holds"),
        ({"kind": "beats", "row": "absent", "over": "dense"}, "cannot be told with 0"),
        ({"kind": "beats", "row": "best", "over": "dense", "points": 1.5}, "holds"),
        ({"kind": "beats", "row": "best", "over": "dense", "points": 2.5}, "does not hold"),
        ({"kind": "best", "row": "best", "rows": ["better", "dense", "worse"]}, "holds"),
        ({"kind": "best", "row": "better", "rows": ["best", "dense"]}, "cannot be told"),
        ({"kind": "comparable", "rows": ["close"], "of": "dense", "points": 0.4}, "holds"),
        ({"kind": "comparable", "rows": ["close"], "of": "dense", "points": 0.2}, "cannot be told"),
        ({"kind": "comparable", "rows": ["better"], "of": "dense", "points": 0.4}, "cannot be"),
        ({"kind": "comparable", "rows": ["close", "best"], "of": "dense", "points": 3}, "holds"),
        (
            {
                "kind": "comparable",
                "rows": ["close"],
                "of": "dense",
                "points": 1,
                "columns": ["one"],
            },
            "holds",
        ),
    ],
)
def test_a_claim_is_judged_by_its_tests(
    claim: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verdict(monkeypatch, **claim).verdict.startswith(said)


def test_the_numbers_of_a_verdict_are_those_worked_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdict(monkeypatch, kind="rises", rows=["dense", "better", "worse"])
    rise, fall = found.parts
    assert rise.difference == pytest.approx(1)
    assert rise.interval is None  # all seeds gain the same, from which nothing follows for others
    assert (rise.p_holds, fall.p_holds) == pytest.approx((1 / 32, 1))
    # one of two inequalities is contradicted: 1/32, doubled by Holm, is not below 5 %
    assert found.p_fails == pytest.approx(2 / 32)
    assert found.verdict == "cannot be told with 5 seeds"


def test_four_seeds_can_tell_nothing_and_the_verdict_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = verdict(monkeypatch, seeds=4, kind="beats", row="better", over="dense")
    assert found.verdict == "cannot be told with 4 seeds"
    assert found.reason == "smallest attainable p: 0.0625"


@pytest.mark.parametrize("row", ["better", "dense"])
@pytest.mark.parametrize("kind", ["failed", "collapsed"])
def test_a_failed_or_collapsed_seed_blocks_a_claim(
    row: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the third seed the claim would hold: it would be the better for having lost it."""

    def lost(cell: Cell) -> Mapping[str, float | None] | str:
        if cell.seed != 3 or cell.row != row:
            return score(cell)
        return kind if kind == "failed" else {"accuracy": 0.0, "collapsed": 1.0}

    claim = {"text": "claimed", "kind": "beats", "row": "better", "over": "dense"}
    table = replace(TABLE, claims=[claim], seeds=10, comparisons=["better"])
    results = measured(table, lost, monkeypatch)
    (found,) = judge_claims(results)
    assert found.verdict == "cannot be told: seeds failed or collapsed"
    assert found.reason == f"{row} in avg: 1 {kind}"
    assert not mark_cells(results, compare_rows(results))
    cell = results.at("small", row, "one")
    assert len(cell.scores) == (9 if kind == "failed" else 10)
    assert str(cell).endswith("(n=9, 1 failed)" if kind == "failed" else "(1 collapsed)")


def test_a_row_of_which_every_seed_failed_is_not_to_be_measured_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claim = {"text": "claimed", "kind": "beats", "row": "better", "over": "dense"}
    (found,) = judge_claims(
        measured(
            replace(TABLE, claims=[claim]),
            lambda cell: "failed" if cell.row == "better" else score(cell),
            monkeypatch,
        )
    )
    assert found.verdict == "cannot be told: seeds failed or collapsed"
    assert found.reason == "better in avg: 5 failed"


def test_equivalence_is_the_larger_of_two_one_sided_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seeds lose 0.1 and 0.3 points in turn: enumerate the signs of what is left to ±0.35."""
    claim = {"kind": "comparable", "rows": ["close"], "of": "dense", "points": 0.35}
    (part,) = verdict(monkeypatch, seeds=10, **claim).parts
    lost = [-0.1, -0.3] * 5
    above = enumerate_signs([d + 0.35 for d in lost])
    below = enumerate_signs([0.35 - d for d in lost])
    assert part.p_holds == pytest.approx(max(above, below))
    assert part.p_fails == 1
    assert part.difference == pytest.approx(-0.2)
    assert "(claimed: within ±0.35)" in str(part)
    assert verdict(monkeypatch, seeds=10, **claim | {"rows": ["better"]}).verdict == "does not hold"


def enumerate_signs(values: list[float]) -> float:
    """Return the one-sided p-value of the mean, over all assignments of signs."""
    sums = [
        sum(s * v for s, v in zip(signs, values, strict=True))
        for signs in product((1, -1), repeat=len(values))
    ]
    return sum(total >= sums[0] - 1e-9 for total in sums) / len(sums)


def test_claims_and_backbones_are_corrected_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of six has p = 1/1024 with ten seeds and 1/64 with six: times six, more than 5 %."""
    claims = [
        {"text": "", "kind": "beats", "row": row, "over": "dense"} for row in ("better", "best")
    ]
    wrong = {"text": "", "kind": "beats", "row": "worse", "over": "dense"}
    for seeds, said in ((10, ["holds"] * 4 + ["does not hold"] * 2), (6, None)):
        table = replace(
            TABLE, seeds=seeds, backbones=["small", "large"], claims=[*claims, dict(wrong)]
        )
        found = judge_claims(measured(table, score, monkeypatch))
        assert [each.p_holds for each in found[:4]] == pytest.approx([2**-seeds] * 4)
        assert [each.p_holds_holm for each in found[:4]] == pytest.approx([6 * 2**-seeds] * 4)
        assert [each.p_fails_holm for each in found[4:]] == pytest.approx([6 * 2**-seeds] * 2)
        verdicts = [each.verdict for each in found]
        assert verdicts == said or (
            said is None and {v[:14] for v in verdicts} == {"cannot be told"}
        )
    assert found[0].reason == "smallest attainable p: 0.0938"


def test_a_claim_about_what_is_not_measured_does_not_count_in_the_correction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claims = [
        {"text": "", "kind": "beats", "row": row, "over": "dense"} for row in ("best", "absent")
    ]
    table = replace(TABLE, claims=claims)
    one, other = judge_claims(measured(table, score, monkeypatch))
    assert (one.p_holds_holm, one.verdict) == (1 / 32, "holds")
    assert other.reason == "not measured yet"


@pytest.mark.parametrize(
    ("seeds", "bound"),
    [
        (5, ""),  # after the claim of ten seeds it is multiplied by one: 1/32
        (4, "smallest attainable p: 0.0625"),  # 1/16, again by one, and not 2/16
    ],
)
def test_the_smallest_attainable_p_is_that_beside_the_other_claims(
    seeds: int, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a family of unequal numbers of seeds the claim of fewer comes later in Holm's order."""

    def few(cell: Cell) -> Mapping[str, float | None] | str:
        return "missing" if cell.row == "best" and cell.seed > seeds else score(cell)

    claims = [
        {"text": "", "kind": "beats", "row": row, "over": "dense"} for row in ("better", "best")
    ]
    table = replace(TABLE, claims=claims, seeds=10)
    many, fewer = judge_claims(measured(table, few, monkeypatch))
    assert (many.verdict, many.reason) == ("holds", "")
    assert fewer.p_holds_holm == 2**-seeds
    assert (fewer.verdict == "holds", fewer.reason) == (seeds == 5, bound)


@pytest.mark.parametrize(
    ("kind", "bound"),
    [
        ({"kind": "within", "row": "best"}, ""),  # 1/32
        ({"kind": "comparable", "rows": ["best"]}, "smallest attainable p: 0.0625"),  # 2/32
    ],
)
def test_a_claim_that_could_be_refuted_has_enough_seeds(
    kind: dict[str, Any], bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four claims of ten seeds are refuted before it, so that a p-value against it counts once.

    A p-value for it would come first and count five times.
    """

    def few(cell: Cell) -> Mapping[str, float | None] | str:
        return "missing" if cell.row == "best" and cell.seed > 5 else score(cell)

    wrong = {"text": "", "kind": "beats", "row": "worse", "over": "dense"}
    claim = {"text": "", "of": "better", "points": 1.0, **kind}
    table = replace(TABLE, claims=[*[dict(wrong) for _ in range(4)], claim], seeds=10)
    *_, found = judge_claims(measured(table, few, monkeypatch))
    assert (found.verdict, found.reason) == ("cannot be told with 5 seeds", bound)


def test_a_lower_error_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    table = replace(
        TABLE,
        columns=[Column("one", "mae")],
        seeds=10,
        comparisons=["best", "worse"],
        claims=[
            {"text": "", "kind": "beats", "row": "worse", "over": "dense"},
            {"text": "", "kind": "beats", "row": "best", "over": "dense"},
        ],
    )
    results = measured(
        table, lambda cell: {"mae": float(score(cell)["accuracy"] or 0)}, monkeypatch
    )
    lower, higher = judge_claims(results)
    assert (lower.verdict, higher.verdict) == ("holds", "does not hold")
    assert str(lower.parts[0]).startswith("dense − worse: +2.00")
    compared = {each.place.row: each for each in compare_rows(results)}
    assert (compared["worse"].is_better, compared["best"].is_better) == (True, False)
    assert [place.row for place in mark_cells(results, compare_rows(results))] == ["worse"]
    notes = build_view(results).notes
    assert "one: mae in hundredths of the labels' unit; lower is better." in notes


@pytest.mark.parametrize(
    ("metric", "main", "higher"),
    [
        ("mae", False, False),
        ("hard_mae", False, False),
        ("very_hard_mae", False, False),
        ("test_f1", False, True),
        ("hard_own", True, True),
        ("hard_own", False, False),  # a metric of one's own: the record alone can tell
    ],
)
def test_a_metric_of_any_split_has_the_direction_of_the_metric(
    metric: str, main: bool, higher: bool
) -> None:
    name = "own" if metric.endswith("own") else "mae"
    splits: dict[str, Any] = {"train": {}, "validation": {}, "hard": {}, "very_hard": {}}
    result = {"scores": {name: 0.5, metric: 0.5}, "higher_is_better": main, "data": splits}
    assert RunRecord(Path("run"), result).prefers_higher(metric) == higher


def test_a_column_of_a_further_score_has_the_recorded_direction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`cost` is a metric of one's own, which only the record can tell, and not the main one."""
    table = replace(TABLE, columns=[Column("one", "cost")], average=[])
    results = measured(table, lambda cell: {"accuracy": 0.5, "cost": 3.2}, monkeypatch)
    with pytest.raises(RecordError, match="does not say whether a higher or a lower cost is bett"):
        results.direction("one")
    for direction, sign in (("lower", -1), ("higher", 1)):
        for place in results.places.values():
            for record in place.records.values():
                record.result["directions"] = {"accuracy": "higher", "cost": direction}
        assert results.direction("one") == sign


def test_a_metric_of_ones_own_is_not_judged_by_its_name() -> None:
    result: dict[str, Any] = {"scores": {"accuracy": 0.5, "mae": 0.5}, "higher_is_better": True}
    record = RunRecord(Path("run"), result)
    assert not record.prefers_higher("mae")
    result["config"] = {"task": {"options": {"metrics": ["accuracy", "mine.mae"]}}}
    with pytest.raises(RecordError, match="run: does not say whether a higher or a lower mae"):
        record.prefers_higher("mae")


def test_an_average_is_not_refused_before_its_runs_tell_the_direction() -> None:
    """So a metric of one's own is not taken for one of which higher is better."""
    columns = [Column("one", "mae"), Column("two", "cost")]
    table = replace(TABLE, columns=columns, average=["one", "two"])
    assert Results(table, {}).direction("avg") == -1


def test_an_average_over_both_directions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [Column("one", "accuracy"), Column("two", "mse")]
    table = replace(TABLE, columns=columns, average=["one", "two"])
    with pytest.raises(ConfigError, match="a lower one in others"):
        measured(table, lambda cell: {"accuracy": 0.5, "mse": 0.5}, monkeypatch)


def test_erdos_renyi_with_equal_shapes_is_left_out_of_the_family(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claim = {"text": "", "kind": "best", "row": "best", "rows": ["better", "worse"]}
    table = replace(TABLE, seeds=10, comparisons=["better", "best", "worse"], claims=[claim])
    results = measured(table, score, monkeypatch)
    assert compare_rows(results)[0].p_holm == pytest.approx(3 * 2 / 1024)
    for record in results.at("small", "worse", "one").records.values():
        record.result["config"]["pruner"] = {"method": "er"}
        record.result["sparsity"]["by_tensor"] = {
            "down": {"total": 1000, "removed": 400, "sparsity": 0.4},
            "up": {"total": 1000, "removed": 401, "sparsity": 0.401},
        }
    assert [each.place.row for each in compare_rows(results)] == ["better", "best"]
    assert compare_rows(results)[0].p_holm == pytest.approx(2 * 2 / 1024)
    assert len(judge_claims(results)[0].parts) == 1
    (note,) = [note for note in build_view(results).notes if "Erdős–Rényi" in note]
    assert note.startswith("worse: every tensor loses the same share")
    record.result["sparsity"]["by_tensor"]["up"]["removed"] = 500
    assert len(compare_rows(results)) == 3


Shape = Callable[[float], float]


def follow(results: Results, row: str, shape: Shape, steps: int = 20) -> None:
    """Give the runs of a row this curve over the share of training done."""
    for column in results.table.columns:
        for record in results.at("small", row, column.name).records.values():
            record.result["history"] = [
                {"epoch": 5 * n / steps, "scores": {column.metric: shape(n / steps)}}
                for n in range(1, steps + 1)
            ]


@pytest.mark.parametrize("slope", [1.0, 3.0, 10.0])
def test_rows_of_equal_speed_save_nothing_though_one_is_better_throughout(
    slope: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = measured(TABLE, score, monkeypatch)

    def rising(share: float) -> float:
        return 0.6 + 0.2 * (1 - exp(-slope * share))

    follow(results, "dense", rising)
    follow(results, "best", lambda share: rising(share) + 0.015)
    assert measure_savings(results, "small", "best", "dense") == dict.fromkeys(range(1, 6), 0)
    advantages = measure_advantages(results, "small", "best", "dense")
    assert advantages == pytest.approx(dict.fromkeys(range(1, 6), 1.5))


@given(
    st.lists(st.integers(0, 408), min_size=1, max_size=25),
    st.sampled_from([1.5, 0.1, -3.7, 1 / 3]),
    st.sampled_from([0.5, 0.9, 1.0]),
    st.sampled_from([1, -1]),
)
def test_a_curve_reaches_its_share_at_the_same_time_wherever_it_lies(
    right: list[int], offset: float, share: float, direction: int
) -> None:
    scores = {float(at): 100 * count / 408 for at, count in enumerate(right)}
    curve = Curve(scores, [*scores.values()][-1])
    moved = Curve({at: score + offset for at, score in scores.items()}, curve.final + offset)
    assert find_reached(curve, share, direction) == find_reached(moved, share, direction)


def test_a_row_that_converges_earlier_is_told_by_its_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One rises evenly, one twice as fast to a lower end, and one falls: it counts as the last."""
    claims: list[dict[str, Any]] = [
        {"text": "", "kind": "earlier", "row": "best", "than": "dense", "share": 0.25},
        {"text": "", "kind": "earlier", "row": "worse", "than": "dense", "share": 0.25},
        {"text": "", "kind": "ahead", "row": "best", "than": "dense"},
    ]
    table = replace(TABLE, claims=claims, seeds=10)
    results = measured(table, score, monkeypatch)
    follow(results, "dense", lambda share: share)
    follow(results, "best", lambda share: 0.5 * min(1.0, 2 * share))
    follow(results, "worse", lambda share: -share)
    earlier, never, ahead = judge_claims(results)
    # from 0.05 to 1: 90 % of the way are at 0.905, first evaluated at 0.95; and half of it
    assert [each.verdict for each in (earlier, never)] == ["holds", "does not hold"]
    assert earlier.parts[0].difference == pytest.approx(0.45)
    assert never.parts[0].difference == pytest.approx(-0.05)
    assert ahead.parts[0].difference == pytest.approx(
        100 * sum(0.5 * min(1, n / 10) - n / 20 for n in range(1, 21)) / 20
    )


def test_claims_on_curves_of_the_held_out_part_of_train_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claims: list[dict[str, Any]] = [
        {"text": "", "kind": "earlier", "row": "best", "than": "dense", "share": 0.25},
        {"text": "", "kind": "ahead", "row": "best", "than": "dense"},
        {"text": "", "kind": "beats", "row": "best", "over": "dense"},
    ]
    results = measured(replace(TABLE, claims=claims), score, monkeypatch)
    labels = ["best before dense", "best − dense over training", "best − dense"]
    assert [verdict.parts[0].label for verdict in judge_claims(results)] == labels
    for row in ("best", "dense"):
        for record in results.at("small", row, "one").records.values():
            record.result["selection"] = {"accuracy": 0.9}
    said = [f"{label}, on the held-out part of train" for label in labels[:2]]
    assert [verdict.parts[0].label for verdict in judge_claims(results)] == [*said, labels[2]]


def test_speeds_are_told_from_the_columns_that_are_scored_during_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Texts are generated after training alone: such a column neither counts nor blocks."""
    columns = [Column("one", "accuracy"), Column("text", "accuracy")]
    claim = {"text": "", "kind": "ahead", "row": "best", "than": "dense"}
    table = replace(TABLE, columns=columns, claims=[claim], seeds=10)

    def collapsing(cell: Cell) -> Mapping[str, float | None]:
        return score(cell) if cell.column == "one" else {"accuracy": 0.1, "collapsed": 1.0}

    results = measured(table, collapsing, monkeypatch)
    for row in ("best", "dense"):
        for record in results.at("small", row, "text").records.values():
            record.result["history"] = [{"epoch": 1.0, "scores": {}}]
    (found,) = judge_claims(results)
    assert (found.verdict, found.n) == ("holds", 10)


def test_a_curve_of_errors_rises_by_falling(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = Curve({0.5: 40, 0.75: 12, 1: 10}, 10)
    assert find_reached(errors, 0.9, direction=-1) == 0.75
    assert find_reached(errors, 0.9) == 1
    assert find_reached(Curve({1.0: 3.0}, 3.0)) == 1


EPOCHS = (0.1, 0.3, 0.2, 0.2, 0.3)
"""Scores after each of five epochs, of which patience ends a training after the third."""


def stop_early(record: RunRecord, epochs: int, kept: int) -> None:
    """Let early stopping end a run of five epochs after so many, and keep one of them."""
    record.result["config"]["protocol"] = {"epochs": 5, "patience": epochs - kept}
    record.result["history"] = record.result["history"][:epochs]
    record.result["best_epoch"] = float(kept)


def test_a_training_that_stopped_early_is_not_the_faster_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both rows are the same until one stops, so that neither is ahead of the other or earlier."""
    results = measured(TABLE, score, monkeypatch)
    for row in ("dense", "best"):
        follow(results, row, lambda share: EPOCHS[round(5 * share) - 1], steps=5)
    for record in results.at("small", "best", "one").records.values():
        stop_early(record, epochs=3, kept=2)
    curve = read_curve(record, "accuracy")
    assert curve == Curve({0.2: 10, 0.4: 30, 0.6: 20}, 30)
    nothing = dict.fromkeys(range(1, 6), 0)
    assert measure_savings(results, "small", "best", "dense") == nothing
    assert measure_advantages(results, "small", "best", "dense") == nothing
    for record in results.at("small", "best", "one").records.values():
        stop_early(record, epochs=2, kept=1)  # as if no epoch were better than the first
    saved = measure_savings(results, "small", "best", "dense")
    assert saved == pytest.approx(dict.fromkeys(range(1, 6), 0.4 - 1))


@pytest.mark.parametrize(("max_steps", "planned"), [(9, 3.0), (7, 2.4), (None, 4.0)])
def test_a_limit_of_the_steps_shortens_the_planned_training(
    max_steps: int | None, planned: float
) -> None:
    """An epoch has ten batches, hence three steps, of four, four and two batches."""
    protocol = compose("task=mrpc", "protocol=clean").to_dict()["protocol"]
    protocol |= {"epochs": 4, "batch_size": 10, "gradient_accumulation": 4}
    protocol |= {"patience": 1, "max_steps": max_steps}
    history = [{"epoch": epoch, "scores": {"accuracy": 0.5}} for epoch in (1.0, 2.0)]
    result = {"config": {"protocol": protocol}, "history": history, "best_epoch": 1.0}
    result["data"] = {"train": {"examples": 95}}
    curve = read_curve(RunRecord(Path("run"), result), "accuracy")
    assert curve is not None
    assert list(curve.scores) == pytest.approx([1 / planned, 2 / planned], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4", "figure2", "figure4"])
def test_the_claims_of_the_paper_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = load_table(name)

    def same(cell: Cell) -> Mapping[str, float | None]:
        return {next(c.metric for c in table.columns if c.name == cell.column): 0.5}

    found = judge_claims(measured(table, same, monkeypatch))
    assert len(found) == len(table.claims) * len(table.backbones)
    assert table.claims
    assert all(part.n == table.seeds for claim in found for part in claim.parts)


def test_table_2_tests_equivalence_for_each_sparsity_and_each_task() -> None:
    claims = [claim for claim in load_table("table2").claims if claim["kind"] == "comparable"]
    tested = {(row, claim["column"], claim["of"]) for claim in claims for row in claim["rows"]}
    assert tested == set(
        product(("s20", "s40", "s60", "s80"), ("avg", "xsum", "squad"), ["adapter"])
    )
    assert all(f"within {claim['points']} points" in claim["text"] for claim in claims)
