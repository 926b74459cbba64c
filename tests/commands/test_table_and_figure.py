"""Tables and figures by name, from records on disk, through the verbs' own entry points."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sparsead.commands import figure, table
from sparsead.errors import ConfigError, RecordError
from sparsead.runs.record import write_result
from sparsead.runs.staging import staged
from sparsead.tables.cells import Cell, list_cells
from sparsead.tables.files import load_table
from synthetic import synthetic_result

OWN = """\
title: Mine
backbones: tiny-bert
seeds: 2
columns: [{task: demo_mrpc, metric: accuracy, label: MRPC}]
average: true
baseline: dense
comparisons: [snip]
rows:
  - {name: dense, label: Dense, overrides: [pruner=none, sparsity=0]}
  - {name: snip, label: SNIP, overrides: [pruner=snip, sparsity=0.4]}
claims: [{text: it gains, kind: beats, row: snip, over: dense}]
"""


def write(cell: Cell, seconds: float) -> None:
    accuracy = 0.8 + cell.seed / 100 + (0.01 if cell.row == "snip" else 0)
    result = synthetic_result(cell.request) | {
        "scores": {"accuracy": accuracy},
        "history": [{"epoch": 1.0, "scores": {"accuracy": accuracy}}],
        "parameters": {"nominal": 0.02},
        "seconds": {"train": seconds},
        "environment": {},
    }
    with staged(cell.request.folder, replace=True) as staging:
        write_result(staging, result, "")


def call(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: ModuleType,
    *arguments: str,
) -> str:
    monkeypatch.setattr("sys.argv", ["sparsead", *arguments])
    verb.main()
    return str(capsys.readouterr().out)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(OWN, "utf-8")
    for cell in list_cells(load_table("own.yaml")):
        write(cell, 1.0)
    return "own.yaml"


def test_a_table_of_ones_own_is_read_from_its_records(
    own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(call(monkeypatch, capsys, table, own, "--format", "json"))
    found = {(line["row"], line["column"]): line for line in content["cells"]}
    assert found["dense", "avg"]["mean"] == pytest.approx(81.5)
    assert found["snip", "avg"]["difference"] == pytest.approx(1)
    assert content["claims"][0]["verdict"] == "cannot be told with 2 seeds"
    more = json.loads(call(monkeypatch, capsys, table, own, "seeds=3", "--format", "json"))
    assert {(line["n"], line["asked"]) for line in more["cells"]} == {(2, 3)}
    monkeypatch.setattr("sys.argv", ["sparsead", own, "protocol.epochs=1", "--format", "md"])
    table.main()
    said = capsys.readouterr()
    assert "missing" in said.out
    assert said.err.startswith(
        "sparsead: not shown, because of other settings than the missing cells have: "
    )
    assert said.err.endswith(": 4 finished runs with protocol.epochs=5\n")


@pytest.mark.slow
def test_a_column_with_a_backbone_of_its_own_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    text = call(monkeypatch, capsys, table, "table2", "only=row=s20", "seeds=1", "--format", "md")
    assert "XSum on bart-large, SQuAD on bert-base-cased, in every row." in text


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_times(
    own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forms = ("md", "html", "json")
    before = [call(monkeypatch, capsys, table, own, "--format", form) for form in forms]
    for cell in reversed(list_cells(load_table(own))):
        write(cell, 77.0)
    assert before == [call(monkeypatch, capsys, table, own, "--format", form) for form in forms]


@pytest.mark.slow
def test_files_are_written_where_they_are_asked_for(
    own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--format", "html", "--out", "there/own.html")
    assert call(monkeypatch, capsys, table, own, *asked) == "there/own.html\n"
    assert Path("there/own.html").read_text("utf-8").startswith("<!doctype html>")
    drawn = call(monkeypatch, capsys, figure, own).split()
    assert drawn == ["outputs/figures/own.png", "outputs/figures/own.svg"]
    assert Path(drawn[0]).read_bytes().startswith(b"\x89PNG")


def test_a_file_of_ones_own_is_kept_and_an_earlier_result_is_replaced(
    own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forms = ("html", "csv", "md", "latex", "json", "rich")
    for form in forms:
        asked = ("--format", form, "--out", f"own.{form}")
        assert call(monkeypatch, capsys, table, own, *asked) == f"own.{form}\n"
        written = Path(f"own.{form}").read_bytes()
        assert call(monkeypatch, capsys, table, own, *asked) == f"own.{form}\n"
        assert Path(f"own.{form}").read_bytes() == written
    for form, mine in zip(forms, ("<!doctype html>\n<p>mine", *["# mine\n"] * 5), strict=True):
        Path("notes").write_text(mine)
        with pytest.raises(RecordError, match=r"notes: exists, and .* did not write it"):
            call(monkeypatch, capsys, table, own, "--format", form, "--out", "notes")
        assert Path("notes").read_text() == mine
    drawn = call(monkeypatch, capsys, figure, own).split()
    assert call(monkeypatch, capsys, figure, own).split() == drawn
    Path(drawn[1]).write_text("<?xml version='1.0'?><svg/>")
    with pytest.raises(RecordError, match=r"own.svg: exists, and .* did not write it"):
        call(monkeypatch, capsys, figure, own)


def test_a_file_is_the_same_whatever_the_terminal(
    own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    off = call(monkeypatch, capsys, table, own)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    on = call(monkeypatch, capsys, table, own)
    assert "\x1b[" in on
    assert max(map(len, on.splitlines())) < max(map(len, off.splitlines()))
    call(monkeypatch, capsys, table, own, "--out", "own.txt")
    assert Path("own.txt").read_text("utf-8") == off


def test_what_cannot_be_done_is_one_line(
    own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="table3"):
        call(monkeypatch, capsys, table, "tabel3")
    with pytest.raises(RecordError, match="no finished runs of own"):
        call(monkeypatch, capsys, figure, own, "task.limit=7")
    with pytest.raises(ConfigError, match="--outputs elsewhere: is not a folder"):
        call(monkeypatch, capsys, figure, own, "--outputs", "elsewhere")
    with pytest.raises(RecordError, match="cannot be written"):
        call(monkeypatch, capsys, table, own, "--out", "own.yaml/x.md")


def test_a_metric_that_no_run_has_is_named(
    own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.yaml").write_text(OWN.replace("accuracy", "test_accuracy"), "utf-8")
    with pytest.raises(RecordError, match="metric=test_accuracy: no such choice; did you mean acc"):
        call(monkeypatch, capsys, table, "other.yaml")


def test_settings_that_would_look_alike_say_what_they_differ_in(
    own: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for cell in list_cells(load_table(own, ["protocol.learning_rate=0.01", "only=row=snip"])):
        write(cell, 1.0)
    rows = json.loads(call(monkeypatch, capsys, table, "--format", "json"))
    rates = {(row["pruner"], row["protocol.learning_rate"]) for row in rows}
    assert rates == {("none", None), ("snip", "0.01"), ("snip", "0.0005")}
    assert "task.limit" not in rows[0]


def test_neither_torch_nor_what_is_slow_is_imported_for_a_list(own: str) -> None:
    code = (
        "import sys; from sparsead.commands import table; table.main();"
        "slow = {'torch', 'pandas', 'matplotlib', 'scipy', 'huggingface_hub'};"
        "print(sorted(slow & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
