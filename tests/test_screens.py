"""What stands on a terminal of 80 columns after a command, and that no line of it is longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from pseudo_terminal import run_at_terminal
from sparsead.cli import verbs
from sparsead.report import differences
from sparsead.report.differences import describe_differences
from sparsead.runs.record import RunRecord
from synthetic import plain_result, write_record

RUNS = """\
run       state  backbone  task  adapter  pruner  sparsity  seed  score
IDENTITY  done   minilm    mrpc  houlsby  snip    40.0      1     82.00
IDENTITY  done   minilm    mrpc  houlsby  snip    40.0      2     84.00
In every row: r 64, metric accuracy, seconds 11.0."""

TABLE = """\
 task   backbone   adapter    r   pruner   sparsity   #param   n       accuracy
 ──────────────────────────────────────────────────────────────────────────────
 mrpc   minilm     houlsby   64   snip         40.0     1.23   2   83.00 ± 1.41
Not shown here: seconds (--wide shows all)."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in (1, 2):
        scores = {"accuracy": 0.8 + seed / 50}
        write_record(tmp_path / "outputs", plain_result(seed=seed, scores=scores, setting="one"))
    return tmp_path


def screen(words: list[str], folder: Path, columns: int = 80) -> list[str]:
    ended = run_at_terminal(words, folder, columns, NO_COLOR="1")
    assert ended.status == 0, ended.screen
    assert "\x1b[3" not in ended.drawn  # no colour
    assert not [line for line in ended.broken if " " in line.strip()]
    return ended.screen


@pytest.mark.slow
def test_lists_and_tables_fit_a_terminal_of_80_columns(folder: Path) -> None:
    names = {path.name.rpartition("_")[2][:8] for path in (folder / "outputs" / "runs").iterdir()}
    listed = "\n".join(screen(["runs"], folder)).strip()
    for name in names:
        listed = listed.replace(name, "IDENTITY")
    assert listed == RUNS
    assert "\n".join(screen(["table"], folder)).rstrip() == TABLE


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    "words", [["--help"], ["list", "backbones"], ["runs", "--help"], ["train", "--help"]]
)
def test_explanations_fit_the_terminal(words: list[str], columns: int, tmp_path: Path) -> None:
    shown = screen(words, tmp_path, columns)
    assert len(shown) > 10
    if words == ["--help"]:
        assert "" not in shown[4 : 4 + 2 * len(verbs())]  # each has an example
        assert "  train       train one run, or with -m a sweep of runs" in shown
        assert "              sparsead train adapter=houlsby pruner=snip sparsity=0.4" in shown


def test_what_differs_between_two_runs_fits_the_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (RunRecord.read(path) for path in sorted((folder / "outputs" / "runs").iterdir()))
    values = {one.folder: {"command": "a" * 200}, two.folder: {"command": "b" * 200}}
    monkeypatch.setattr(differences, "list_values", lambda record: values[record.folder])
    assert "a" * 200 in describe_differences(one, two)
    monkeypatch.setattr(differences, "screen_width", lambda: 80)
    _, line, note = describe_differences(one, two).splitlines()
    assert len(line) <= 78
    assert line.split() == ["command", "a" * 32 + "…", "b" * 32 + "…"]
    assert note.startswith("Values that end in … are cut")
