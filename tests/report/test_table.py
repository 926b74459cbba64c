from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from statistics import mean, stdev

import pytest

from sparsead.errors import RecordError
from sparsead.report import table
from sparsead.report.settings import rows_of
from sparsead.runs.record import all_records, staged, write_result


def record(outputs: Path, seed: int, accuracy: float, pruner: str = "snip") -> None:
    config = {
        "task": {"name": "mrpc"},
        "backbone": {"name": "minilm"},
        "adapter": {"name": "houlsby", "options": {"bottleneck": 64}},
        "pruner": {"name": pruner},
        "seed": seed,
    }
    result = {
        "setting": pruner,
        "config": config,
        "scores": {"accuracy": accuracy, "f1": 0.9},
        "sparsity": {"realised": 0.4},
        "parameters": {"nominal": 0.0123},
        "seconds": {"train": 10.0, "load": 2.0},
    }
    with staged(outputs / "runs" / f"{pruner}-{seed}") as staging:
        write_result(staging, result, "")


def rendered(outputs: Path, form: str, monkeypatch: pytest.MonkeyPatch, capsys) -> str:
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


def test_seeds_become_mean_and_spread(outputs: Path, monkeypatch, capsys) -> None:
    rows = json.loads(rendered(outputs, "json", monkeypatch, capsys))
    assert [(row["pruner"], row["n"]) for row in rows] == [("random", 1), ("snip", 3)]
    assert rows[1]["accuracy"] == pytest.approx(mean([81, 82, 86]))
    assert rows[1]["accuracy_sd"] == pytest.approx(stdev([81, 82, 86]))
    assert rows[0]["accuracy_sd"] is None
    assert rows[1]["#param"] == 1.23


def test_every_format_says_the_same(outputs: Path, monkeypatch, capsys) -> None:
    rows = list(csv.DictReader(io.StringIO(rendered(outputs, "csv", monkeypatch, capsys))))
    assert float(rows[1]["accuracy"]) == pytest.approx(83)
    for form in ("rich", "md", "latex"):
        text = rendered(outputs, form, monkeypatch, capsys)
        assert "83.00" in text
        assert "2.65" in text
        assert "75.00" in text


def test_latex_escapes_what_latex_would_read(outputs: Path, monkeypatch, capsys) -> None:
    text = rendered(outputs, "latex", monkeypatch, capsys)
    assert r"\#param" in text
    assert r"83.00 $\pm$ 2.65" in text


def test_no_runs_is_no_error(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["sparsead table", "--outputs", str(tmp_path)])
    table.main()
    assert "no finished runs" in capsys.readouterr().err


def test_a_result_that_lacks_its_parts_is_named(tmp_path: Path) -> None:
    with staged(tmp_path / "runs" / "one") as staging:
        write_result(staging, {"config": {}, "scores": {}}, "")
    with pytest.raises(RecordError, match="runs/one: its result is incomplete"):
        rows_of(all_records(tmp_path))
