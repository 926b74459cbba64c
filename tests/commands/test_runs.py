from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from pyarrow import parquet

from composing import ask_for
from sparsead.commands import runs
from sparsead.errors import ConfigError
from sparsead.runs.record import write_result
from sparsead.runs.staging import staged
from synthetic import synthetic_result


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for pruner in ("snip", "random"):
        for seed in (1, 2):
            request = ask_for(f"outputs={tmp_path}", f"pruner={pruner}", f"seed={seed}")
            with staged(request.folder) as staging:
                write_result(staging, synthetic_result(request), "")
    failed = ask_for(f"outputs={tmp_path}", "pruner=grasp", "task=rte")
    failed.record_failure(ValueError("no"))
    return tmp_path


def called(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> str:
    monkeypatch.setattr("sys.argv", ["sparsead runs", *words, "--outputs", str(outputs)])
    runs.main()
    return str(capsys.readouterr().out)


def test_filters_choose_what_is_listed(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for filters, count in (
        ((), 5),
        (("pruner=snip",), 2),
        (("pruner=snip,random", "seed=2"), 2),
        (("task=rte",), 1),
        (("state=failed",), 1),
        (("state=f*",), 1),
        (("sparsity=40", "adapter=h*"), 5),
        (("task=cola",), 0),
    ):
        listed = called(outputs, monkeypatch, capsys, "list", *filters, "--format", "json")
        assert len(json.loads(listed)) == count, filters
    assert len(called(outputs, monkeypatch, capsys, "pruner=snip").splitlines()) == 3


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("prunner=snip", "filter=prunner: no such choice; did you mean pruner?"),
        ("stat=failed", "filter=stat: no such choice; did you mean state?"),
        ("state=fail", "state=fail: no such choice; did you mean failed? (allowed: done, failed)"),
        ("state=done,x*", "state=x*: no such choice (allowed: done, failed)"),
        ("outputs=X", "outputs=X: give --outputs X instead"),
        ("task=mrpc,mrcp", "task=mrcp: no such choice; did you mean mrpc?"),
        ("lst", "runs=lst: no such choice; did you mean list?"),
    ],
)
def test_an_unknown_filter_is_named_also_where_there_are_no_runs(
    word: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        called(tmp_path, monkeypatch, capsys, word)


def test_deleting_asks_and_spares_the_others(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="--yes"):
        called(outputs, monkeypatch, capsys, "delete", "pruner=snip,grasp")
    called(outputs, monkeypatch, capsys, "delete", "pruner=snip,grasp", "--yes")
    left = json.loads(called(outputs, monkeypatch, capsys, "list", "--format", "json"))
    assert {row["pruner"] for row in left} == {"random"}
    assert len(list((outputs / "runs").iterdir())) == 2


def test_every_export_says_the_same(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in ("parquet", "csv", "json"):
        called(outputs, monkeypatch, capsys, "export", str(outputs / f"runs.{suffix}"))
    columns = parquet.read_table(outputs / "runs.parquet").to_pylist()
    assert columns == json.loads((outputs / "runs.json").read_text())
    with (outputs / "runs.csv").open() as stream:
        assert [row["run"] for row in csv.DictReader(stream)] == [row["run"] for row in columns]
    assert next(row for row in columns if row["state"] == "failed")["score"] is None
