"""The cache of composed configurations: differences that its key has to distinguish."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sparsead.runs.checked import write_checksummed
from sparsead.tables import composed
from sparsead.tables.cells import list_cells
from sparsead.tables.composed import CACHE_FILE, compose_all, forget_compositions
from sparsead.tables.files import load_table

TABLE = """
rows: [{name: dense, overrides: [adapter=houlsby]}]
columns: [{task: text, metric: accuracy}]
backbones: [tiny-bert]
seeds: 1
overrides: ['task.train=${oc.env:GL}/t.csv', 'task.validation=${oc.env:GL}/t.csv',
            'task.inputs=[text]']
"""


@pytest.mark.slow
def test_a_value_of_the_environment_is_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text(TABLE)
    table = load_table(str(tmp_path / "mine.yaml"), [f"outputs={tmp_path}"])
    for folder in ("e1", "e2", "e1"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "t.csv").write_text(f"text,label\n{folder},1\nb,0\n")
        monkeypatch.setenv("GL", str(tmp_path / folder))
        (cell,) = list_cells(table)
        assert cell.spec.task.train == f"{tmp_path}/{folder}/t.csv"


def test_a_reference_within_the_configuration_is_remembered(tmp_path: Path) -> None:
    overrides = [f"outputs={tmp_path}", "protocol.eval_batch_size=${protocol.batch_size}"]
    first = compose_all([overrides])
    assert (tmp_path / CACHE_FILE).exists()
    forget_compositions()
    assert compose_all([overrides]) == first


def test_a_run_is_composed_once_without_a_folder_to_keep_it_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["backbone=tiny-bert", f"outputs={tmp_path / 'nothing'}"]
    first = compose_all([overrides])
    monkeypatch.setattr(composed, "compose_as", None)
    assert compose_all([overrides]) == first
    monkeypatch.undo()
    (tmp_path / "nothing").mkdir()
    compose_all([overrides])
    forget_compositions()
    monkeypatch.setattr(composed, "compose_as", None)
    assert compose_all([overrides]) == first


def test_a_change_that_leaves_size_and_time_of_a_file_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composed, "files", lambda _package: tmp_path)
    monkeypatch.setattr(composed, "file_digest", Path.read_text)  # nothing is remembered
    file = tmp_path / "default.yaml"
    states = []
    for value in ("1e-3", "5e-4"):
        file.unlink(missing_ok=True)
        file.write_text(f"learning_rate: {value}")
        os.utime(file, ns=(1, 1))
        states.append(composed.hash_conf())
    assert states[0] != states[1]


def test_what_was_composed_from_other_files_does_not_stay_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    for state, seed in (("1", 1), ("1", 2), ("2", 3)):
        monkeypatch.setattr(composed, "hash_conf", lambda state=state: state)
        compose_all([["backbone=tiny-bert", f"seed={seed}", f"outputs={tmp_path}"]])
        runs = json.loads((tmp_path / CACHE_FILE).read_text())["runs"]
        kept.append(sorted(run["spec"]["seed"] for run in runs.values()))
    assert kept == [[1], [1, 2], [3]]


def test_a_name_from_a_relative_path_is_that_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["task=text", "task.train=~/train.csv", "task.validation=train.csv"]
    overrides += ["task.inputs=[text]", f"outputs={tmp_path}"]
    for name in ("one", "two", "one"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "train.csv").write_text("text,label\na,1\nb,0\n")
        monkeypatch.setenv("HOME", str(tmp_path / name))
        monkeypatch.chdir(tmp_path / name)
        (request,) = compose_all([overrides])
        assert request.spec.task.name == name
        assert request.spec.task.train == f"{tmp_path}/{name}/train.csv"


def test_a_branch_of_the_hub_is_resolved_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["backbone=bert-base", "backbone.revision=main", f"outputs={tmp_path}"]
    for commit in (40 * "a", 40 * "b"):
        monkeypatch.setattr("sparsead.hub.commits.find_commit", lambda _source, c=commit: c)
        (request,) = compose_all([overrides])
        assert request.spec.backbone.revision == commit


def test_outputs_of_the_cache_are_those_that_were_typed(tmp_path: Path) -> None:
    """The file may come from somebody else, whose checksum fits what it says."""
    overrides = [("backbone=tiny-bert", f"outputs={tmp_path}")]
    compose_all(overrides)
    cache = tmp_path / CACHE_FILE
    content = json.loads(cache.read_text())
    content.pop("sha256", None)
    for entry in content["runs"].values():
        entry["outputs"] = str(tmp_path / "elsewhere")
    write_checksummed(cache, content)
    forget_compositions()
    (request,) = compose_all(overrides)
    assert request.outputs == tmp_path


def test_a_changed_folder_of_a_backbone_is_read_again_whatever_signs_its_key_has(
    tmp_path: Path,
) -> None:
    overrides = [f"++backbone.path={tmp_path}", f"++outputs={tmp_path}"]
    for layers in (2, 3):
        architecture = {"model_type": "bert", "num_hidden_layers": layers}
        (tmp_path / "config.json").write_text(json.dumps(architecture))
        (request,) = compose_all([overrides])
        assert request.spec.backbone.architecture == architecture
