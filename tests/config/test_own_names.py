"""A data set of the user's own is named after its file; its identity does not depend on that."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsead.config.compose import compose, compose_as
from sparsead.config.own_names import name_from_path
from sparsead.errors import ConfigError
from sparsead.runs.identity import compute_identity
from sparsead.runs.request import RunRequest


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("reviews.csv", "reviews"),
        ("my reviews (v2).tsv", "my-reviews-v2"),
        ("films/train.jsonl", "films"),
        ("films/Training.parquet", "films"),
        ("(((.csv", "text"),
        (f"{70 * 'x'}.csv", 64 * "x"),
        (f"{80 * '文'}.csv", 32 * "文"),
    ],
)
def test_the_file_or_its_folder_names_the_data_set(
    file: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("films").mkdir()
    Path(file).write_text("x")
    task = compose(["task=text", f"task.train={file}"]).task
    assert (task.name, task.family, task.method) == (name, "text", "text")
    assert compose(["task=text", f"task.train={file}", "task.name=mine"]).task.name == "mine"


def test_names_with_which_the_name_of_the_folder_would_be_too_long_are_refused() -> None:
    for word in (64 * "文", 64 * "x"):
        names = [f"{group}.name={word}" for group in ("backbone", "task", "adapter", "pruner")]
        message = rf"(task|backbone)\.name={word}: .* and may have 229; give a shorter name"
        with pytest.raises(ConfigError, match=message):
            compose_as(RunRequest.from_config, names)
    request = compose_as(RunRequest.from_config, [f"task.name={64 * 'x'}"])
    assert len(request.folder.name) < 229


def test_a_renamed_file_is_the_same_run(tmp_path: Path) -> None:
    found = set()
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("x")
        spec = compose(["task=text", f"task.train={tmp_path / name}.csv"])
        assert spec.task.name == name
        found.add(compute_identity(spec))
    assert len(found) == 1


def test_without_a_file_the_name_is_that_of_the_choice() -> None:
    for choice in ("text", "qa", "summarize", "translate"):
        assert compose([f"task={choice}"]).task.name == choice
    assert compose(["task=mrpc"]).task.family is None


def test_the_working_folder_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "train.csv").write_text("x")
    assert compose(["task=text", "task.train=train.csv"]).task.name == "films"
    assert name_from_path(Path(), "other") == "films"
