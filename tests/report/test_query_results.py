"""Any runs as a table of one row a setting, from which figures and the HTML report are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsead import cli
from sparsead.config.seeds import MOST_SEEDS
from sparsead.report.query_results import tabulate_settings
from sparsead.report.results import Results
from sparsead.runs.archive_writing import pack
from sparsead.runs.listing import find_finished
from sparsead.runs.record import RunRecord
from synthetic import plain_result, write_record


def record(outputs: Path, pruner: str, sparsity: float, seed: int, score: float) -> None:
    setting, scores = f"{pruner}-{sparsity}", {"accuracy": score, "f1": 0.1}
    result = plain_result(
        seed=seed, setting=setting, pruner=pruner, sparsity=sparsity, scores=scores
    )
    result["history"] = [
        {"epoch": float(epoch), "scores": {"accuracy": score * epoch / 2}} for epoch in (1, 2)
    ]
    write_record(outputs, result)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for seed in (1, 2):
        for sparsity in (0.2, 0.4):
            record(tmp_path, "snip", sparsity, seed, 0.8 + seed / 100 + sparsity / 10)
    record(tmp_path, "none", 0.0, 1, 0.7)
    return tmp_path


def tabulated(outputs: Path, *filters: str) -> Results:
    return tabulate_settings(find_finished(filters, outputs), "runs", "All runs")


def test_rows_are_settings_and_those_of_one_pruner_are_a_series(outputs: Path) -> None:
    results = tabulated(outputs)
    rows = {row.label: row.series for row in results.table.rows}
    assert [label.split(" ", 1)[1] for label in rows] == [
        "r=64",
        "r=64 snip 20 %",
        "r=64 snip 40 %",
    ]
    assert len({series for series in rows.values() if series}) == 1
    assert next(iter(rows.values())) is None
    (column,) = results.table.columns
    assert column.metric == "accuracy"
    measured = results.at(results.table.backbones[0], [*rows][2], column.name)
    assert measured.scores == pytest.approx({1: 85, 2: 86})
    dense = results.at(results.table.backbones[0], next(iter(rows)), column.name)
    assert str(dense) == "70.00 (n=1)"
    assert len(tabulated(outputs, "sparsity=0.4").table.rows) == 1


def test_runs_of_one_seed_in_one_cell_are_all_counted(outputs: Path) -> None:
    result = plain_result(seed=1, setting="snip-0.4", scores={"accuracy": 0.5})
    result["config"]["seed_init"] = 7
    write_record(outputs, result)
    (place,) = tabulated(outputs, "sparsity=0.4").places.values()
    assert len(place.scores) == 3


def test_a_setting_may_have_more_runs_than_a_table_may_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that `sparsead variance --seeds 32` makes."""
    result = plain_result(setting="many", scores={"accuracy": 0.5})
    monkeypatch.setattr(RunRecord, "read", lambda folder: RunRecord(folder, result))
    runs = [RunRecord(tmp_path / str(number), result) for number in range(MOST_SEEDS + 1)]
    results = tabulate_settings(runs, "runs", "All runs")
    (place,) = results.places.values()
    assert len(place.scores) == place.asked == results.table.seeds == MOST_SEEDS + 1


def test_settings_that_look_alike_are_told_apart_and_not_pooled(outputs: Path) -> None:
    """As those of a file whose content has changed under the same path."""
    for seed in (1, 2):
        result = plain_result(seed=seed, setting="another-0.4", pruner="snip", sparsity=0.4)
        result["scores"] = {"accuracy": 0.5}
        write_record(outputs, result)
    results = tabulated(outputs, "sparsity=0.4")
    told = {row.label.partition(" setting=")[2] for row in results.table.rows}
    assert [len(each) for each in told] == [8, 8]
    assert {len(place.scores) for place in results.places.values()} == {2}


def test_runs_whose_start_chose_different_shares_are_not_pooled(tmp_path: Path) -> None:
    """A run with `adapter.start` has no pruner, and trains the share that its start chose."""
    for seed, (share, score) in enumerate([(0.01, 0.7), (0.02, 0.9)], start=1):
        setting, scores = f"start-{share}", {"accuracy": score}
        result = plain_result(
            seed=seed, sparsity=0.0, setting=setting, adapter="sparse", pruner="none", scores=scores
        )
        result["config"]["adapter"] |= {"start": f"run{share}", "options": {"budget": "bias"}}
        removed = round((1 - share) * result["sparsity"]["total"])
        result["sparsity"] |= {"realised": 1 - share, "removed": removed}
        write_record(tmp_path, result)
    results = tabulated(tmp_path)
    assert [row.label for row in results.table.rows] == ["sparse 98 %", "sparse 99 %"]
    assert {row.series for row in results.table.rows} == {"sparse"}
    assert [str(place) for place in results.places.values()] == ["70.00", "90.00"]


def test_settings_of_one_label_are_numbered_and_not_pooled(tmp_path: Path) -> None:
    """Here the hashes of the settings, which are all that differs, begin with the same digits."""
    for last, score in (("1", 0.7), ("2", 0.9)):
        result = plain_result(pruner="snip", setting=last, scores={"accuracy": score})
        write_record(tmp_path, result | {"setting": f"{'a' * 15}{last}"})
    results = tabulated(tmp_path)
    first, second = (row.label for row in results.table.rows)
    assert second == f"{first} (2)"
    assert {str(place) for place in results.places.values()} == {"70.00", "90.00"}


@pytest.mark.parametrize("shown", ["curves", "sparsity", "params"])
def test_any_runs_are_drawn_also_from_an_archive(
    shown: str, outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = outputs / "records.parquet"
    pack(outputs, [run.folder.name for run in find_finished([], outputs)], archive)
    monkeypatch.chdir(outputs)
    words = ["figure", shown, "pruner=snip", "--records", str(archive), "--out", "drawn"]
    monkeypatch.setattr("sys.argv", ["sparsead", *words])
    cli.main()
    assert capsys.readouterr().out.splitlines() == [f"drawn/{shown}.png", f"drawn/{shown}.svg"]
    assert "snip" in Path(f"drawn/{shown}.svg").read_text("utf-8")


@pytest.mark.parametrize("words", [["figure", "curves"], ["map"], ["figure", "figure1"]])
def test_a_picture_is_no_folder_of_pictures(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["sparsead", *words, "--out", "mine.svg"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert not Path("mine.svg").exists()


@pytest.mark.slow
def test_any_runs_have_an_html_report(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["table", "pruner=snip,none", "--format", "html", "--outputs", str(outputs)]
    monkeypatch.setattr("sys.argv", ["sparsead", *words])
    cli.main()
    text = capsys.readouterr().out
    assert "<h1>Runs with pruner=snip,none</h1>" in text
    assert text.count("<figure>") == 3
    assert "85.50" in text


def test_a_report_names_the_seeds_of_runs_whose_parts_have_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seeds in ({}, {"seed_init": 7, "seed_mask": 8}):
        result = plain_result(seed=3, setting="one", scores={"accuracy": 0.5})
        result["config"] |= seeds
        write_record(tmp_path, result)
    monkeypatch.setattr("sys.argv", ["sparsead", "table", f"outputs={tmp_path}", "--format=html"])
    cli.main()
    report = capsys.readouterr().out
    assert [f'<td class="number">{seed}</td>' in report for seed in ("3", "3-7-8")] == [True, True]
    assert '<td class="number">-' not in report
