"""The Pareto front of score and trained weights, and `sparsead map`, which shows it."""

from __future__ import annotations

import csv
import io
import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsead import cli
from sparsead.report.front import COLUMNS, RANKED, Point, mark_front
from synthetic import plain_result, write_record


def point(weights: int, *scores: float) -> Point:
    return Point("minilm", "mrpc", f"{weights} {scores}", weights, weights / 1000, scores)


def on_front(points: list[Point], direction: int = 1) -> list[tuple[int, float]]:
    marked = mark_front(points, direction)
    return [(each.weights, each.estimate.mean) for each in marked if each.front]


def test_a_point_is_on_the_front_if_none_with_as_few_weights_is_better() -> None:
    points = [point(0, 70.0), point(10, 80.0, 82.0), point(10, 79.0), point(20, 81.0)]
    points += [point(30, 83.0), point(40, 83.0)]
    assert on_front(points) == [(0, 70.0), (10, 81.0), (30, 83.0)]
    assert on_front(points, -1) == [(0, 70.0)]
    assert on_front([point(5, 1.0), point(5, 1.0)]) == [(5, 1.0), (5, 1.0)]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1))
def test_the_front_is_that_of_a_running_best(found: list[tuple[int, int]]) -> None:
    best = {w: max(s for v, s in found if v <= w) for w, _ in found}
    fewest = {s: min(v for v, t in found if t >= s) for _, s in found}
    expected = sorted((w, s) for w, s in found if best[w] == s and fewest[s] == w)
    points = [point(weights, float(score)) for weights, score in found]
    assert sorted(on_front(points)) == [(w, float(s)) for w, s in expected]


def record(
    outputs: Path,
    pruner: str,
    sparsity: float,
    seed: int,
    score: float | None,
    *,
    collapsed: bool = False,
) -> None:
    setting, scores = f"{pruner}-{sparsity}", {"accuracy": score, "f1": 0.1}
    result = plain_result(
        seed=seed, setting=setting, pruner=pruner, sparsity=sparsity, scores=scores
    )
    result["parameters"] |= {"backbone": 1000, "nominal": 0.02 * (1 - sparsity)}
    result["collapsed"] = collapsed
    write_record(outputs, result)


def test_runs_are_listed_by_weights_with_their_interval_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, score in ((1, 0.80), (2, 0.84)):
        record(tmp_path, "snip", 0.5, seed, score, collapsed=seed == 2)
    record(tmp_path, "none", 0.0, 1, 0.81)
    cli.run("map", ["--outputs", str(tmp_path), "--format", "csv"])
    printed = capsys.readouterr()
    snip, dense = csv.DictReader(io.StringIO(printed.out))
    assert [(row["weights"], row["share %"], row["front"]) for row in (snip, dense)] == [
        ("10", "1.0", "yes"),
        ("20", "2.0", ""),
    ]
    assert [(row["n"], row["collapsed"]) for row in (snip, dense)] == [("2", "1"), ("1", "")]
    ends = [float(snip[end]) for end in ("interval_low", "interval_high")]
    assert ends == pytest.approx([56.59, 107.41], abs=0.01)  # 82 ± 12.706 · 2
    assert dense["interval_low"] == dense["interval_high"] == ""
    assert [Path(line).suffix for line in printed.err.splitlines()] == [".png", ".svg"]
    assert all(Path(line).is_file() for line in printed.err.splitlines())


def test_runs_of_one_task_with_other_metrics_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their scores cannot be compared, so that each of them is on a front of its own."""
    record(tmp_path, "snip", 0.5, 1, 0.8)
    result = plain_result(pruner="magnitude", sparsity=0.5, scores={"f1": 0.9})
    result["parameters"] |= {"backbone": 1000}
    write_record(tmp_path, result)
    cli.run("map", ["--outputs", str(tmp_path), "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["task"], row["metric"], row["front"]) for row in rows] == [
        ("mrpc", "accuracy", "yes"),
        ("mrpc", "f1", "yes"),
    ]
    drawn = (tmp_path / "figures" / "map.svg").read_text("utf-8")
    assert "mrpc accuracy, " in drawn
    assert "mrpc f1, " in drawn


def record_with_seeds(outputs: Path, seeds: dict[str, int], score: float) -> None:
    result = plain_result(setting="separate", pruner="magnitude", scores={"accuracy": score})
    result["config"] |= seeds
    result["identity"] = "".join(map(str, seeds.values())).zfill(16)
    result["parameters"] |= {"backbone": 1000}
    result["history"] = [{"epoch": 1.0, "loss": score, "scores": {"accuracy": score}}]
    write_record(outputs, result)


@pytest.mark.parametrize(("verb", "runs"), [("map", 4), ("table", 5)])
def test_runs_that_repeat_another_seed_are_counted_once(
    verb: str, runs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mask of magnitudes depends on no seed, so that the data and the weights decide all."""
    for seed in range(2, 2 + runs):
        record_with_seeds(tmp_path, {"seed": seed, "seed_data": 1, "seed_init": 1}, 0.84)
    cli.run(verb, ["--outputs", str(tmp_path), "--format", "csv"])
    printed = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(printed.out))
    assert row["n"] == "1"
    assert row.get("interval_low", "") == ""
    assert f"not counted: {runs - 1} runs of {runs}, with the losses and scores" in printed.err


def test_runs_that_share_seeds_of_their_parts_have_no_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As those of `sparsead variance`, of which several have one seed of the initial weights."""
    for data, init in product((1, 2, 3), repeat=2):
        seeds = {"seed_data": data, "seed_init": init, "seed_mask": (data + init) % 3 + 1}
        record_with_seeds(tmp_path, seeds, 0.8 + init / 100 + data / 1000)
    cli.run("map", ["--outputs", str(tmp_path), "--format", "csv"])
    printed = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(printed.out))
    assert (row["n"], row["interval_low"], row["interval_high"]) == ("9", "", "")
    assert "1 setting: no interval, because the runs have separate seeds" in printed.err


def test_a_single_run_on_the_front_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        record(tmp_path, "snip", 0.5, seed, 0.80)
    record(tmp_path, "none", 0.0, 1, 0.79)
    cli.run("map", ["--outputs", str(tmp_path), "--format", "csv"])
    assert "one seed" not in capsys.readouterr().err  # the single run is beaten
    record(tmp_path, "random", 0.2, 1, 0.81)
    cli.run("map", ["--outputs", str(tmp_path), "--format", "csv"])
    assert "with one seed and no interval: 1 of 2 settings on the front" in capsys.readouterr().err


def test_a_run_that_does_not_count_its_backbone_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, "snip", 0.5, 1, 0.8)
    folder = write_record(tmp_path, plain_result(pruner="magnitude"))
    cli.run("map", ["--outputs", str(tmp_path), "--format", "csv"])
    printed = capsys.readouterr()
    assert len(list(csv.DictReader(io.StringIO(printed.out)))) == 1
    assert f"{folder}: does not count its backbone's parameters; it is left out" in printed.err


def test_settings_that_were_evaluated_on_other_examples_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pruner, examples in (("snip", 8), ("magnitude", 8), ("random", 9)):
        result = plain_result(setting=pruner, pruner=pruner, scores={"accuracy": 0.8})
        result["parameters"] |= {"backbone": 1000}
        result["data"] = {"validation": {"examples": examples, "counts": {}}}
        write_record(tmp_path, result)
    cli.run("map", ["--outputs", str(tmp_path), "--format", "csv"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "other examples" in line]
    assert "random" in line


def test_a_setting_without_a_defined_score_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, "snip", 0.5, 1, 0.8)
    record(tmp_path, "magnitude", 0.3, 1, None)
    cli.run("map", ["--outputs", str(tmp_path), "--format", "csv"])
    printed = capsys.readouterr()
    assert len(list(csv.DictReader(io.StringIO(printed.out)))) == 1
    assert re.search(
        r"magnitude 30 % in mrpc accuracy: its scores are not defined; it is", printed.err
    )


def test_filters_without_runs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.run("map", ["--outputs", str(tmp_path)])
    assert end.value.code == 2
    assert "has no finished runs to map" in capsys.readouterr().err


def test_every_column_has_its_rank() -> None:
    assert sorted(RANKED) == sorted(COLUMNS)


def test_frozen_weights_are_not_counted_as_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of AdapterFusion, whose sources the paper's #param counts; a frozen head is left out."""
    for setting, options, trained in (("fusion", {}, 70), ("bare", {"head": "frozen"}, 30)):
        result = plain_result(setting=setting, scores={"accuracy": 0.8})
        result["config"]["adapter"] |= {"name": setting, "options": options}
        counts = {"backbone": 1000, "head": 40, "nominal": 0.3, "trainable_nonzero": trained}
        write_record(tmp_path, result | {"parameters": counts})
    cli.run("map", ["--outputs", str(tmp_path), "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(row["method"].split()[0], row["weights"], row["share %"]) for row in rows} == {
        ("fusion", "30", "3.0"),
        ("bare", "30", "3.0"),
    }
