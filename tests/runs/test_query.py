"""A run is found by its folder, by its name, or by any part of it that no other run has."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from masked_runs import MASKS, OTHERS, write_run
from sparsead.errors import ConfigError, RecordError
from sparsead.runs.query import find_run, find_trusted_run
from synthetic import plain_result, write_record


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    write_run(tmp_path, "minilm_mrpc_houlsby_snip_0.4_seed3_00c0ffee00c0ffee", MASKS)
    write_run(tmp_path, "minilm_mrpc_houlsby_random_0.4_seed3_badc0de4badc0de4", OTHERS)
    return tmp_path


def test_a_run_is_found_by_folder_name_and_part(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = outputs / "runs" / "minilm_mrpc_houlsby_snip_0.4_seed3_00c0ffee00c0ffee"
    for named in (str(folder), folder.name, "00c0ffee00c0ffee", "_snip_"):
        assert find_run(named, outputs).folder == folder
    monkeypatch.chdir(folder)
    assert find_run(".", outputs).folder == Path(".")
    write_run(outputs, "snip", MASKS)
    assert find_run("snip", outputs).folder.name == "snip"


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("minilm", ["2 runs", "_snip_", "_random_"]),
        (
            "00c0ffee00c0ffef",
            ["is neither the folder of a run", "did you mean minilm_mrpc_houlsby_snip_0.4"],
        ),
        ("minilm_mrpc_houlsby_snap_0.4_seed3", ["did you mean minilm_mrpc_houlsby_snip_0.4"]),
        ("zzz", ["zzz: is neither the folder of a run nor part of the name of one"]),
    ],
)
def test_an_unknown_or_ambiguous_run_is_refused(
    outputs: Path, named: str, words: list[str]
) -> None:
    with pytest.raises(RecordError) as caught:
        find_run(named, outputs)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


def test_what_a_task_learned_needs_the_same_trust_as_its_configuration(tmp_path: Path) -> None:
    config = plain_result()["config"]
    own = {**config, "task": config["task"] | {"method": "mine.Task"}}
    for learned, trust, refused in (
        ({"anything": 5}, "mine", None),
        ({"metrics": ["strange.cost"]}, "mine", "task.metrics=strange.cost: is code of another"),
        ({"metrics": ["strange.cost"]}, ["mine", "strange"], None),
        ({}, None, "task.method=mine.Task: is code of another package"),
    ):
        folder = write_record(tmp_path, plain_result(config=own, from_data=learned))
        with pytest.raises(ConfigError, match=refused) if refused else nullcontext():
            find_trusted_run(str(folder), tmp_path, trust)
        shutil.rmtree(folder)


def test_many_matches_are_not_all_listed(tmp_path: Path) -> None:
    for seed in range(8):
        write_run(tmp_path, f"run_{seed}", {})
    with pytest.raises(RecordError, match=r"8 runs \(run_0, .*, run_4, …\)"):
        find_run("run", tmp_path)
