from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsead.runs.provenance import describe_commit, describe_program, describe_provenance


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


def filtered(folder: Path, ran: Path) -> None:
    """Make a repository whose file, changed since the commit, is passed through a program."""
    folder.mkdir(exist_ok=True)
    git(folder, "init", "-q")
    for name, text in ((".gitattributes", "file filter=own"), ("file", "a")):
        (folder / name).write_text(text, "utf-8")
        git(folder, "add", name)
    git(folder, "commit", "-qm", "first")
    git(folder, "config", "filter.own.clean", f"touch {ran}; cat")
    (folder / "file").write_text("b", "utf-8")


def test_a_repository_cannot_filter_its_files_through_a_program(tmp_path: Path) -> None:
    filtered(tmp_path / "it", ran := tmp_path / "ran")
    found = describe_commit(tmp_path / "it")
    assert not ran.exists()
    assert found is not None
    assert found["changed"] is None


def test_a_submodule_cannot_run_a_program(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    filtered(tmp_path / "inner", ran := tmp_path / "ran")
    git(tmp_path, "-c", "advice.addEmbeddedRepo=false", "add", "inner")
    git(tmp_path, "commit", "-qm", "second")
    ran.unlink(missing_ok=True)
    found = describe_commit(tmp_path)
    assert not ran.exists()
    assert found is not None
    assert found["changed"] is False


def test_without_git_and_with_a_secret_in_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", "")
    monkeypatch.setattr(sys, "argv", ["sparsead", "train", "my_token=abcdefghijkl"])
    describe_program.cache_clear()
    found = describe_provenance()
    describe_program.cache_clear()
    assert (found["program"], found["caller"]) == (None, None)
    assert found["command"] == ["sparsead", "train", "my_token=***"]
    assert "torch" in found["packages"]
