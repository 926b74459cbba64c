from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsead.runs.provenance import describe_commit, describe_provenance


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", *who, *words]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_of_a_folder_and_whether_it_was_changed(tmp_path: Path) -> None:
    assert describe_commit(tmp_path / "nowhere") is None
    git(tmp_path, "init", "-q")
    assert describe_commit(tmp_path) is None
    (tmp_path / "file").write_text("a", "utf-8")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert describe_commit(tmp_path) == {"commit": commit, "changed": False}
    (tmp_path / "file").write_text("b", "utf-8")
    assert describe_commit(tmp_path) == {"commit": commit, "changed": True}


def test_a_repository_cannot_run_a_program(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-qm", "first", "--allow-empty")
    git(tmp_path, "config", "core.fsmonitor", f"touch {tmp_path}/ran; false")
    assert describe_commit(tmp_path) is not None
    assert not (tmp_path / "ran").exists()


def test_without_git_and_with_a_secret_in_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", "")
    monkeypatch.setattr(sys, "argv", ["sparsead", "train", "my_token=abcdefghijkl"])
    found = describe_provenance()
    assert (found["program"], found["caller"]) == (None, None)
    assert found["command"] == ["sparsead", "train", "my_token=***"]
    assert "torch" in found["packages"]
