"""What a sweep knows of its runs, from lines that each of them has appended to one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsead.runs.tally import Sweep, note_run


def test_a_sweep_counts_the_runs_that_failed(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, runs=3)
    assert sweep.describe(1) == "run 1 of 3"
    note_run(tmp_path, tmp_path / "one", None)
    note_run(tmp_path, tmp_path / "two", ValueError("no\nmore"))
    assert [(entry["state"], entry["reason"]) for entry in sweep.entries()] == [
        ("done", ""),
        ("failed", "ValueError: no"),
    ]
    assert sweep.describe(3).startswith("run 3 of 3, 1 failed, about ")
    assert Sweep().entries() == []


def test_a_run_that_two_jobs_name_is_counted_once(tmp_path: Path) -> None:
    note_run(tmp_path, tmp_path / "one", ValueError("no"))
    note_run(tmp_path, tmp_path / "two", None)
    note_run(tmp_path, tmp_path / "one", None)
    entries = Sweep(tmp_path, runs=3).entries()
    assert [(Path(e["folder"]).name, e["state"]) for e in entries] == [
        ("one", "done"),
        ("two", "done"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b'{"folder": "/x", "sta',
        b'{"folder": "/x", "state": "done", "reason": "\xc3',
        b"",
        b"3",
        b"[]",
        b'{"folder": "/x", "state": "failed"}',
        b'{"folder": "/x", "state": "else", "reason": ""}',
        b'{"folder": 1, "state": "done", "reason": ""}',
        100_000 * b"[",
    ],
)
def test_a_line_that_cannot_be_read_leaves_the_others(tmp_path: Path, line: bytes) -> None:
    note_run(tmp_path, tmp_path / "one", ValueError("no"))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes() + line + b"\n")
    note_run(tmp_path, tmp_path / "two", None)
    sweep = Sweep(tmp_path, runs=4)
    assert [Path(entry["folder"]).name for entry in sweep.entries()] == ["one", "two"]
    assert "1 failed" in sweep.describe(3)
    file.write_bytes(file.read_bytes()[:-9])
    assert [Path(entry["folder"]).name for entry in sweep.entries()] == ["one"]


def test_a_folder_that_is_gone_has_no_entries(tmp_path: Path) -> None:
    assert Sweep(tmp_path / "gone").entries() == []
    (tmp_path / "runs.jsonl").mkdir()
    assert Sweep(tmp_path).entries() == []
