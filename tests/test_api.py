"""The Python functions `sparsead.train`, `runs`, `table` and `predictions`, by their examples."""

from __future__ import annotations

import doctest
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sparsead
from sparsead.errors import ConfigError
from sparsead.report import frames
from sparsead.runs.query import predictions
from sparsead.runs.record import RunRecord
from sparsead.train import train_overrides

TUTORIAL = Path(__file__).resolve().parents[1] / "docs" / "tutorial.ipynb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.mark.slow
def test_the_examples_are_what_they_say(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The examples of the second and third function read the run that the first one trains."""
    monkeypatch.chdir(folder)
    caplog.set_level("WARNING", "sparsead")  # another test's handler may write to stdout
    for function in (train_overrides, predictions, frames.runs, frames.table):
        (example,) = doctest.DocTestFinder(recurse=False).find(function, function.__name__)
        assert doctest.DocTestRunner().run(example).failed == 0, function


@pytest.mark.slow
def test_the_tutorial_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    notebook = json.loads(TUTORIAL.read_text("utf-8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        exec(compile(cell, f"{TUTORIAL.name}, cell {number}", "exec"), names)
    assert {"record", "frame"} <= names.keys()


def test_an_empty_folder_has_no_runs(tmp_path: Path) -> None:
    frame = sparsead.runs(outputs=tmp_path)
    assert len(frame) == 0
    assert "score" in frame.columns


def test_a_search_or_a_wrong_override_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean snip"):
        sparsead.train(["pruner=snop"], outputs=tmp_path)
    with pytest.raises(ConfigError, match="search=asha: works only with `sparsead train`"):
        sparsead.train(["search=asha"], outputs=tmp_path)
    with pytest.raises(ConfigError, match=r"task\.train: name a CSV, TSV, JSONL or Parquet file"):
        sparsead.train(["task=text", "task.inputs=[text]", "device=cpu"], outputs=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sparsead.train("sparsity=0.4"), r"overrides='sparsity=0.4': must be a list of"),
        (lambda: sparsead.train([3]), "overrides: 3: must be a text"),  # type: ignore[list-item]
        (lambda: sparsead.runs(["seed=1"]), r"filters: \['seed=1'\]: must be a text"),  # type: ignore[arg-type]
        (lambda: sparsead.table("table1", 3), "overrides: 3: must be a text"),  # type: ignore[arg-type]
        (lambda: sparsead.train([], config_dir="none"), "config_dir=none: is not a folder"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        call()


def test_choices_of_ones_own_are_found_in_python(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "pruner").mkdir(parents=True)
    text = "defaults: [/base_pruner, _self_]\nname: mine\nmethod: magnitude\n"
    (own / "pruner" / "mine.yaml").write_text(text, "utf-8")
    words = ["backbone=tiny-bert", "task.limit=16", "protocol.max_steps=1", "device=cpu"]
    record = sparsead.train(
        [*words, "pruner=mine", "sparsity=0.4"], outputs=tmp_path / "outputs", config_dir=own
    )
    assert record.result["config"]["pruner"]["name"] == "mine"
    with pytest.raises(ConfigError, match="pruner=mine: no such choice"):
        sparsead.train([*words, "pruner=mine"], outputs=tmp_path / "outputs")


@pytest.mark.parametrize(
    "word",
    [
        *("-m", "--json", "jobs_per_gpu=2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
        *("+hydra.launcher.n_jobs=2", "hydra.mode=MULTIRUN", "hydra.job.chdir=true"),
    ],
)
def test_how_the_command_starts_runs_is_refused_in_python(word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is for the command `sparsead train` alone") as refused:
        sparsead.train(["backbone=tiny-bert", "device=cpu", word], outputs=tmp_path)
    assert str(refused.value).startswith(f"{word}: ")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_the_package_and_the_module_of_these_names_are_still_such() -> None:
    from sparsead import runs, train
    from sparsead.runs import record

    assert record.RunRecord is RunRecord
    assert callable(runs)
    assert callable(train)
