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
    here, moved, changed = (compute_identity(compose("task=text", files[name])) for name in "abc")
    assert here == moved != changed


def test_a_tasks_own_point_is_the_same_run_as_its_values() -> None:
    assert compute_identity(compose("task=cola")) == compute_identity(
        compose("task=cola", "protocol.learning_rate=1e-3")
    )


def test_a_shorthand_and_what_it_stands_for_are_one_run() -> None:
    short = compose("sparsity=large_sparse", "sparsity.scale=4")
    long = compose("adapter.bottleneck=256", "sparsity.ratio=0.75")
    assert compute_identity(short) == compute_identity(long)


def test_seeds_share_a_setting() -> None:
    assert compute_setting(compose("seed=1")) == compute_setting(compose("seed=2"))
    assert compute_setting(compose()) != compute_setting(compose("sparsity.ratio=0.5"))


RECORDED = {
    "": ("0e10619dab6dc30d", "6e1ccff4ea8cf02b"),
    "seed=3": ("de15fffabc8ff1fa", "6e1ccff4ea8cf02b"),
    "adapter=lora pruner=grasp sparsity.ratio=0.2": ("52afe34b4c89847b", "8d53bf6ba6c8a062"),
    "adapter=mam task=demo_squad": ("86ffa13bbf9f8d17", "4ebb7bd376b8608d"),
    "adapter=full": ("65b27e5854d7085c", "4fd48d4e49d955c2"),
    "adapter=fusion": ("25d6c334fe94e0ea", "6132187d38d6e039"),
    "task=cola backbone=roberta-base protocol=paper": ("495177b9b0c32cd2", "c8f0acdfa4d2bef0"),
    "task=squad backbone=bert-base-cased adapter.bottleneck=256": (
        "086db4c65fa6b25b",
        "300de75418c82c0c",
    ),
    "task=xsum backbone=bart-large pruner=er": ("b03490a8c38bafe6", "07beeb95398b83da"),
    "protocol=clean task=rte precision=fp32 device=cpu": ("852eeac1a976729a", "ac55df6c23c76603"),
    "sparsity=large_sparse sparsity.scale=3": ("e8ed41780a1ae721", "0244bb628a0ef376"),
    "pruner=nm sparsity.ratio=0.5 adapter=parallel": ("83ded0753cf16dbf", "3510b3f015d3175d"),
    "experiment=table2/s80 task=mrpc": ("01aefb9fb532f75c", "f350e34fd5434d5a"),
    "experiment=table4/s-mam task=stsb": ("ad85ca99850623de", "0058936bb50ead23"),
    "backbone=tiny-llama adapter=bitfit task.limit=8": ("6ff820a6e657d89c", "ed09f5a36d506b4d"),
}
"""Identity and setting of result format 6; where the format is raised, they are recorded anew."""


@pytest.mark.slow
@pytest.mark.parametrize("overrides", RECORDED)
def test_a_run_that_was_recorded_before_is_found_again(overrides: str) -> None:
    spec = compose(*overrides.split())
    assert (compute_identity(spec), compute_setting(spec)) == RECORDED[overrides]
