from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from sparsead.commands import table
from sparsead.errors import ConfigError, RecordError
from sparsead.report.choice import choose_best_points
from sparsead.report.settings import group_by_setting
from sparsead.runs.record import read_records
from synthetic import plain_result, write_record


def record(outputs: Path, seed: int, accuracy: float | None, pruner: str = "snip") -> None:
    scores = {"accuracy": accuracy, "f1": 0.9}
    write_record(outputs, plain_result(seed=seed, pruner=pruner, scores=scores))


def rendered(
    outputs: Path, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    arguments = ["sparsead table", "--outputs", str(outputs), "--format", form]
    monkeypatch.setattr("sys.argv", arguments)
    table.main()
    return str(capsys.readouterr().out)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for seed, accuracy in enumerate((0.81, 0.82, 0.86)):
        record(tmp_path, seed, accuracy)
    record(tmp_path, 0, 0.75, pruner="random")
    return tmp_path


def test_seeds_become_mean_and_spread(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(rendered(outputs, "json", monkeypatch, capsys))
    assert [(row["pruner"], row["n"]) for row in rows] == [("random", 1), ("snip", 3)]
    assert rows[1]["accuracy"] == pytest.approx(mean([81, 82, 86]))
    assert rows[1]["accuracy_sd"] == pytest.approx(stdev([81, 82, 86]))
    assert rows[0]["accuracy_sd"] is None
    assert rows[1]["#param"] == 1.23


def test_a_score_that_is_not_defined_is_counted(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(outputs, 3, None)
    _, row = json.loads(rendered(outputs, "json", monkeypatch, capsys))
    assert (row["n"], row["accuracy not defined"]) == (4, 1)
    assert row["accuracy"] == pytest.approx(83)


def test_every_format_says_the_same(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.DictReader(io.StringIO(rendered(outputs, "csv", monkeypatch, capsys))))
    assert float(rows[1]["accuracy"]) == pytest.approx(83)
    for form in ("rich", "md", "latex"):
        text = rendered(outputs, form, monkeypatch, capsys)
        assert "83.00" in text
        assert "2.65" in text
        assert "75.00" in text


def test_latex_escapes_what_latex_would_read(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = rendered(outputs, "latex", monkeypatch, capsys)
    assert r"\#param" in text
    assert r"83.00 $\pm$ 2.65" in text


def test_no_runs_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sparsead table", "--outputs", str(tmp_path)])
    table.main()
    assert "no finished runs" in capsys.readouterr().err


def test_no_runs_make_no_file(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = outputs / "all.csv"
    words = ["sparsead table", f"outputs={outputs}", "--format", "csv", "--out", str(file)]
    monkeypatch.setattr("sys.argv", words)
    table.main()
    full = file.read_bytes()
    for out in (file, outputs / "new.csv"):
        monkeypatch.setattr("sys.argv", [*words[:-1], str(out), "task=rte"])
        with pytest.raises(RecordError, match="has no finished runs with task=rte to write"):
            table.main()
    assert file.read_bytes() == full
    assert not (outputs / "new.csv").exists()


def point(
    outputs: Path, rate: float, seed: int, selection: float | None, score: float | None, metric: str
) -> None:
    """A run of a grid over the learning rate, chosen by `selection`."""
    result = plain_result(
        seed=seed, setting=f"{rate:g}", scores={metric: score}, selection={metric: selection}
    )
    result["config"]["protocol"] |= {"learning_rate": rate, "epochs": 5, "batch_size": 16}
    write_record(outputs, result)


def test_the_best_point_of_a_grid_is_chosen_by_the_selection_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        point(tmp_path, 1e-4, seed, 0.7 + seed / 10, 0.6, "accuracy")
        point(tmp_path, 5e-4, seed, 0.8, 0.9, "accuracy")
    record(tmp_path, 1, 0.5, pruner="random")
    assert len(group_by_setting(read_records(tmp_path))) == 3
    arguments = ["sparsead table", "--outputs", str(tmp_path), "--format", "json", "--best"]
    monkeypatch.setattr("sys.argv", arguments)
    table.main()
    rows = json.loads(capsys.readouterr().out)
    assert [(row["pruner"], row["accuracy"]) for row in rows] == [("random", 50), ("snip", 60)]
    assert float(rows[1]["protocol.learning_rate"]) == 1e-4
    assert (rows[1]["protocol.epochs"], rows[1]["n"]) == ("5", 2)
    assert rows[1]["selection accuracy"] == pytest.approx(85)
    assert [row["points"] for row in rows] == [1, 2]
    assert [row.get("chosen on") for row in rows] == [None, "held-out part of train"]


def test_a_point_that_was_chosen_on_the_dev_set_is_labelled_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rate in (1e-4, 5e-4):
        result = plain_result(seed=1, setting=f"{rate:g}", scores={"accuracy": 0.6 + rate})
        result["config"]["protocol"] |= {"learning_rate": rate, "epochs": 5, "batch_size": 16}
        write_record(tmp_path, result)
    arguments = ["sparsead table", "--outputs", str(tmp_path), "--format", "json", "--best"]
    monkeypatch.setattr("sys.argv", arguments)
    table.main()
    (row,) = json.loads(capsys.readouterr().out)
    assert row["chosen on"] == "the dev set itself"
    assert row["points"] == 2


def test_a_report_names_the_best_points_and_on_what_they_were_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        for rate in (1e-4, 5e-4):
            result = plain_result(seed=seed, setting=f"{rate:g}", scores={"accuracy": 0.6 + rate})
            result["config"]["protocol"] |= {"learning_rate": rate, "epochs": 5, "batch_size": 16}
            write_record(tmp_path, result)
    record(tmp_path, 1, 0.7, pruner="random")
    words = ["sparsead table", f"outputs={tmp_path}", "--best", "--format", "html"]
    monkeypatch.setattr("sys.argv", words)
    table.main()
    report = capsys.readouterr().out
    assert "<h1>All runs, the best point of each grid</h1>" in report
    assert "60.05 ± 0.00 [0.0005, 5, 16; chosen on dev]" in report
    assert "of the point chosen among 2 for each row and task" in report
    assert ">70.00 (n=1)<" in report


def test_older_records_that_lack_a_hash_are_points_of_the_same_grid(tmp_path: Path) -> None:
    for rate, known in ((1e-4, True), (5e-4, False), (1e-3, True)):
        result = plain_result(seed=1, setting=f"{rate:g}", scores={"accuracy": 0.6 + rate})
        result["config"]["protocol"] |= {"learning_rate": rate, "epochs": 5, "batch_size": 16}
        result["config"]["backbone"] |= {"tokenizer_sha256": "a"} if known else {}
        result["data"] = {"train": {"examples": 8} | ({"sha256": "b"} if known else {})}
        write_record(tmp_path, result)
    (best,) = choose_best_points(read_records(tmp_path))
    assert best.result["config"]["protocol"]["learning_rate"] == 1e-3
    changed = plain_result(seed=1, setting="other", scores={"accuracy": 0.5})
    changed["config"]["protocol"] |= {"learning_rate": 2e-3, "epochs": 5, "batch_size": 16}
    changed["data"] = {"train": {"examples": 8, "sha256": "c"}}
    write_record(tmp_path, changed)
    assert len(choose_best_points(read_records(tmp_path))) == 3


def test_of_errors_the_smallest_is_the_best(tmp_path: Path) -> None:
    for rate, error in ((1e-4, 0.9), (5e-4, 0.3), (1e-3, None)):
        point(tmp_path, rate, 1, error, error, "mse")
    (best,) = choose_best_points(read_records(tmp_path))
    assert best.result["config"]["protocol"]["learning_rate"] == 5e-4


def test_a_point_with_fewer_seeds_than_others_is_not_chosen(tmp_path: Path) -> None:
    for rate, seeds in ((1e-4, (1, 2)), (1e-3, (1,))):
        for seed in seeds:
            point(tmp_path, rate, seed, 0.9 if rate == 1e-3 else 0.7, 0.6, "accuracy")
    best = choose_best_points(read_records(tmp_path))
    assert [run.result["config"]["protocol"]["learning_rate"] for run in best] == [1e-4, 1e-4]


def show_best(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[list[dict[str, Any]], str]:
    """Return the rows of `sparsead table --best`, and what it says beside them in one line."""
    arguments = ["sparsead table", "--outputs", str(outputs), "--format", "json", "--best"]
    monkeypatch.setattr("sys.argv", arguments)
    table.main()
    shown = capsys.readouterr()
    return json.loads(shown.out), " ".join(shown.err.split())


def test_a_worse_point_with_one_seed_more_does_not_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are compared on the seeds 1 to 3; on all of its own the worse one would win."""
    for rate, scores in ((1e-4, (0.7, 0.7, 0.7)), (2e-4, (0.65, 0.65, 0.65, 1.0))):
        for seed, score in enumerate(scores, start=1):
            point(tmp_path, rate, seed, score, score, "accuracy")
    (row,), said = show_best(tmp_path, monkeypatch, capsys)
    assert float(row["protocol.learning_rate"]) == 1e-4
    assert (row["n"], row["points"], said) == (3, 2, "")


def test_only_the_compared_points_are_counted_and_the_others_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rate, seeds in ((1e-4, (1, 2, 3)), (2e-4, (2,)), (5e-4, (1, 2, 3)), (1e-3, (4, 5))):
        for seed in seeds:
            point(tmp_path, rate, seed, 0.7 + rate, 0.6, "accuracy")
    (row,), said = show_best(tmp_path, monkeypatch, capsys)
    assert (float(row["protocol.learning_rate"]), row["points"]) == (5e-4, 2)
    assert "chosen among 2 points, without those that have too few seeds in common" in said
    assert "learning_rate=0.0002 epochs=5 batch_size=16 (seed 2); learning_rate=0.001" in said
    assert said.endswith("(seed 4, 5)")


def test_points_of_equally_many_other_seeds_are_compared_on_their_own(tmp_path: Path) -> None:
    for rate, seeds in ((1e-4, (1, 2)), (2e-4, (3, 4))):
        for seed in seeds:
            point(tmp_path, rate, seed, 0.7 + rate, 0.6, "accuracy")
    best = choose_best_points(read_records(tmp_path))
    assert [run.result["config"]["protocol"]["learning_rate"] for run in best] == [2e-4, 2e-4]


def test_data_of_another_content_are_no_points_of_one_grid(tmp_path: Path) -> None:
    for content in ("one", "other"):
        result = plain_result(setting=content, scores={"accuracy": 0.5})
        result["data"] = {"train": {"sha256": content * 16}}
        write_record(tmp_path, result)
    assert len(choose_best_points(read_records(tmp_path))) == 2


def test_of_equal_points_the_lowest_rate_is_chosen_whatever_the_order_of_the_records(
    tmp_path: Path,
) -> None:
    for rate in (5e-4, 1e-4, 1e-3):
        point(tmp_path, rate, 1, 0.7, 0.6, "accuracy")
    records = list(read_records(tmp_path))
    for order in (records, records[::-1]):
        (best,) = choose_best_points(order)
        assert best.result["config"]["protocol"]["learning_rate"] == 1e-4


def test_filters_choose_the_runs_where_no_table_is_named(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(*words: str) -> list[tuple[str, int]]:
        arguments = ["sparsead table", f"outputs={outputs}", "--format", "json", *words]
        monkeypatch.setattr("sys.argv", arguments)
        table.main()
        found = json.loads(capsys.readouterr().out or "[]")
        return [(row["pruner"], row["n"]) for row in found]

    assert rows("pruner=snip") == [("snip", 3)]
    assert rows("seed=[01]", "task=*mrpc") == [("random", 1), ("snip", 2)]
    assert rows("sparsity=0.8") == []
    with pytest.raises(ConfigError, match="filter=prunner: no such choice; did you mean pruner"):
        rows("prunner=snip")
