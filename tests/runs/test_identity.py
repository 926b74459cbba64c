from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from composing import compose
from sparsead.runs.identity import compute_identity, compute_setting


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    [
        "seed=2",
        "sparsity.ratio=0.5",
        "adapter.bottleneck=32",
        "pruner=random",
        "pruner.control=shuffle",
        "task.limit=100",
        "protocol.learning_rate=1e-4",
        "precision=bf16",
        "backbone=tiny-bert",
    ],
)
def test_what_decides_the_result_changes_the_identity(override: str) -> None:
    assert compute_identity(compose(override)) != compute_identity(compose())


def test_where_a_run_reads_and_writes_does_not_count(tmp_path: Path, glue_fixture: Path) -> None:
    moved = shutil.copytree(glue_fixture, tmp_path / "moved")
    here = compose("task=mrpc", f"task.path={glue_fixture}")
    there = compose("task=mrpc", f"task.path={moved}", "outputs=elsewhere", "rerun=true")
    assert compute_identity(here) == compute_identity(there)


def test_what_a_local_folder_holds_counts(tmp_path: Path, glue_fixture: Path) -> None:
    altered = shutil.copytree(glue_fixture, tmp_path / "altered")
    with (altered / "MRPC" / "dev.tsv").open("a", encoding="utf-8") as file:
        file.write("1\t1\t2\tone\ttwo\n")
    before = compose("task=mrpc", f"task.path={glue_fixture}")
    after = compose("task=mrpc", f"task.path={altered}")
    hub = compose("task=mrpc")
    assert len({compute_identity(spec) for spec in (before, after, hub)}) == 3


def test_a_users_own_file_counts_by_its_content(tmp_path: Path) -> None:
    for name, content in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / f"{name}.csv").write_text(content, "utf-8")
    files = {name: f"task.train={tmp_path / name}.csv" for name in "abc"}
    task = ("task=text", "task.inputs=[text]")
    here, moved, changed = (compute_identity(compose(*task, files[name])) for name in "abc")
    assert here == moved != changed


def test_a_tasks_own_point_is_the_same_run_as_its_values() -> None:
    assert compute_identity(compose("task=cola")) == compute_identity(
        compose("task=cola", "protocol.learning_rate=1e-3")
    )


def test_a_shorthand_and_what_it_stands_for_are_one_run() -> None:
    short = compose("sparsity=large_sparse", "sparsity.scale=4")
    long = compose("adapter.bottleneck=256", "sparsity.ratio=0.75")
    assert compute_identity(short) == compute_identity(long)


@pytest.mark.slow
def test_only_runs_that_lacked_weight_decay_by_mistake_have_another_identity() -> None:
    assert compute_identity(compose("adapter=pfeiffer")) != "863ad178a01e997e"  # as it was
    without = compose("adapter=pfeiffer", "protocol.weight_decay=0")
    assert compute_identity(without) == "2f7de00003af9456"
    assert compute_identity(compose("adapter=houlsby")) == "04cde908244374bb"


def test_seeds_share_a_setting() -> None:
    assert compute_setting(compose("seed=1")) == compute_setting(compose("seed=2"))
    assert compute_setting(compose()) != compute_setting(compose("sparsity.ratio=0.5"))


@pytest.mark.slow
def test_seeds_count_by_what_they_set() -> None:
    def identity(*overrides: str) -> str:
        return compute_identity(compose(*overrides))

    assert identity("seed=1", "seed_data=1") == identity("seed=1")
    assert identity("seed_data=2", "seed_init=2", "seed_mask=2") == identity("seed=2")
    assert identity("seed=1", "seed_mask=2") == identity("seed=2", "seed_data=1", "seed_init=1")
    separate = [identity(f"seed_{part}=2") for part in ("data", "init", "mask")]
    assert len({identity("seed=1"), identity("seed=2"), *separate}) == 5


def test_the_seed_of_a_mask_does_not_count_where_there_is_none() -> None:
    dense = compose("pruner=none"), compose("pruner=none", "seed_mask=2")
    assert compute_identity(dense[0]) == compute_identity(dense[1])


def test_runs_of_separate_seeds_share_a_setting_of_their_own() -> None:
    one_seed, separate, another = (
        compute_setting(compose(*overrides.split()))
        for overrides in ("seed=1", "seed=1 seed_data=2", "seed=4 seed_mask=3")
    )
    assert one_seed != separate == another


RECORDED = {
    "": ("04cde908244374bb", "51885ce5c987cf25"),
    "seed=3": ("59190a11a0a7759c", "51885ce5c987cf25"),
    "adapter=lora pruner=grasp sparsity.ratio=0.2": ("c230fcfbce2fc619", "bdf85c6eea867666"),
    "adapter=mam task=demo_squad": ("94b3cc43c69ffbb0", "266ed7f8ec494885"),
    "adapter=full": ("902b7926741a0f50", "72d99a8a95e8478a"),
    "adapter=fusion": ("0e624b4b8f246525", "30f766d701bcee4f"),
    "task=cola backbone=roberta-base protocol=paper": ("88108a6e425c382c", "dbc274085ec93afc"),
    "task=squad backbone=bert-base-cased adapter.bottleneck=256": (
        "d847e54e63122c8e",
        "06cb00fe8fdbdcda",
    ),
    "task=xsum backbone=bart-large pruner=er": ("e0cfa647c5b93fbc", "903338cb12a95f8c"),
    "protocol=clean task=rte precision=fp32 device=cpu": ("2a004bddd6fe4b9d", "a96be1f8ab51b49f"),
    "sparsity=large_sparse sparsity.scale=3": ("3436811a576082e8", "8c32436088a75d29"),
    "pruner=nm sparsity.ratio=0.5 adapter=parallel": ("a0379eee4e5ae3fb", "8a5227b116bed32e"),
    "experiment=table2/s80 task=mrpc": ("e5b971878f1fabea", "d1a8288eca9da45c"),
    "experiment=table4/s-mam task=stsb": ("a780c302dd576d7d", "20ef7c4324d5e50c"),
    "backbone=tiny-llama adapter=bitfit task.limit=8": ("ea560eb0e1a2c8c6", "7a80e839fecc3b0b"),
}
"""Identity and setting of result format 7; where the format is raised, they are recorded anew."""


@pytest.mark.slow
@pytest.mark.parametrize("overrides", RECORDED)
def test_a_run_that_was_recorded_before_is_found_again(overrides: str) -> None:
    spec = compose(*overrides.split())
    assert (compute_identity(spec), compute_setting(spec)) == RECORDED[overrides]
