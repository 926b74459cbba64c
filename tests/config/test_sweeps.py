"""The values of a sweep: each of them is one run, whether it is typed or in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.types import RunMode

from sparsead.config.choices import use_own_folder
from sparsead.config.compose import compose_config
from sparsead.config.launchers import chosen_launcher
from sparsead.config.overrides import expand
from sparsead.config.sweeps import (
    compose_jobs,
    drop_repeated_values,
    is_sweep,
    type_swept,
)
from sparsead.errors import ConfigError


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "experiment").mkdir()
    use_own_folder(tmp_path)
    yield tmp_path / "experiment" / "mine.yaml"
    use_own_folder(None)


def swept(own: Path, params: str, *overrides: str) -> list[str]:
    own.write_text(
        f"# @package _global_\nhydra: {{mode: MULTIRUN, sweeper: {{params: {{{params}}}}}}}\n"
    )
    words = ["experiment=mine", *overrides]
    config = compose_config(words, RunMode.MULTIRUN)
    assert is_sweep(config)
    return type_swept(words, config)


def test_what_a_file_sweeps_is_what_the_same_words_sweep(own: Path) -> None:
    found = swept(own, 'sparsity: "0.2,0.4", seed: "1,2"', "seed=3")
    jobs = list(compose_jobs(found))
    assert [job.sparsity.ratio for job, _ in jobs] == [0.2, 0.4]
    assert {job.seed for job, _ in jobs} == {3}
    typed = list(compose_jobs(["sparsity.ratio=0.2,0.4", "seed=1,2"]))
    assert len(typed) == len(list(compose_jobs(swept(own, 'sparsity: "0.2,0.4", seed: "1,2"'))))


def test_a_typed_choice_of_sparsity_replaces_the_numbers_of_a_file(own: Path) -> None:
    jobs = list(compose_jobs(swept(own, 'sparsity: "0.2,0.4", seed: "1,2"', "sparsity=dense")))
    assert [(job.sparsity.ratio, job.seed) for job, _ in jobs] == [(0, 1), (0, 2)]


def test_a_typed_key_with_plus_signs_replaces_that_of_a_file(own: Path) -> None:
    jobs = list(compose_jobs(swept(own, 'seed: "1,2,4"', "++seed=3")))
    assert [job.seed for job, _ in jobs] == [3]


def test_a_file_sweeps_folders_of_backbones(own: Path) -> None:
    found = swept(own, 'backbone: "./a,./b"')
    assert found[:2] == ["backbone=folder", "backbone.path=./a,./b"]
    with pytest.raises(ConfigError, match="mixes folders and names; sweep them one kind at a time"):
        swept(own, 'backbone: "./a,tiny-bert"')


def test_the_sweepers_keys_are_not_typed() -> None:
    for word in ("hydra.sweeper.params={seed: '1,2'}", "+hydra.sweeper.params.seed='1,2'"):
        with pytest.raises(ConfigError, match="type what is to be swept itself, as in -m seed=1,2"):
            expand([word])


def test_a_file_chooses_the_launcher(own: Path) -> None:
    text = "defaults: [override /hydra/launcher: joblib]\n"
    own.write_text(f"# @package _global_\n{text}")
    assert chosen_launcher(compose_config(["experiment=mine"])) == "joblib"
    assert chosen_launcher(compose_config([])) == "basic"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("seed=1,1,2,3,2", "seed=1,2,3"),
        ("seed=1,1", "seed=1"),
        ("protocol.learning_rate=1e-4,0.0001,1e-3", "protocol.learning_rate=0.0001,0.001"),
        ("task.train='a, b.csv',c.csv,\"a, b.csv\"", "task.train='a, b.csv',c.csv"),
        ("++adapter.config.r=choice(4,8,4)", "++adapter.config.r=4,8"),
        ("task.inputs=[a,b],[a],[a,b]", "task.inputs=[a,b],[a]"),
    ],
)
def test_a_value_given_twice_is_one_value(given: str, kept: str) -> None:
    assert drop_repeated_values([given, "device=cpu"]) == [kept, "device=cpu"]


@pytest.mark.parametrize(
    "given",
    [
        *(
            "seed=range(1,4)",
            "pruner=snip,random",
            "task.inputs=[a,a]",
            "adapter.start_head=1,true",
        ),
        *("pruner=glob(s*)", "seed=1,,2", "--cfg", "sparsity.ratio=interval(0,1)", "~tracking"),
    ],
)
def test_other_overrides_are_left_alone(given: str) -> None:
    assert drop_repeated_values([given]) == [given]


def test_a_sweep_has_one_job_for_each_value() -> None:
    words = ["backbone=tiny-bert", "seed=1,1,2", "pruner=snip,random,snip"]
    assert len([*compose_jobs(drop_repeated_values(words))]) == 4


def test_an_interval_needs_a_sweeper_that_chooses_values() -> None:
    words = ["seed=1,2", "sparsity.ratio=interval(0.1,0.3)"]
    with pytest.raises(ConfigError, match=r"^sparsity.ratio=interval\(0.1,0.3\): an interval is"):
        type_swept(words, compose_config(words[:1], RunMode.MULTIRUN))
