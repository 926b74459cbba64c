from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from composing import compose
from sparsead.runs.identity import identity, setting


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
    assert identity(compose(override)) != identity(compose())


def test_where_a_run_reads_and_writes_does_not_count(tmp_path: Path, glue_fixture: Path) -> None:
    moved = shutil.copytree(glue_fixture, tmp_path / "moved")
    here = compose("task=mrpc", f"task.path={glue_fixture}")
    there = compose("task=mrpc", f"task.path={moved}", "outputs=elsewhere", "rerun=true")
    assert identity(here) == identity(there)


def test_what_a_local_folder_holds_counts(tmp_path: Path, glue_fixture: Path) -> None:
    altered = shutil.copytree(glue_fixture, tmp_path / "altered")
    with (altered / "MRPC" / "dev.tsv").open("a", encoding="utf-8") as file:
        file.write("1\t1\t2\tone\ttwo\n")
    before = compose("task=mrpc", f"task.path={glue_fixture}")
    after = compose("task=mrpc", f"task.path={altered}")
    hub = compose("task=mrpc")
    assert len({identity(spec) for spec in (before, after, hub)}) == 3


def test_a_users_own_file_counts_by_its_content(tmp_path: Path) -> None:
    for name, content in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / f"{name}.csv").write_text(content, "utf-8")
    files = {name: f"task.train={tmp_path / name}.csv" for name in "abc"}
    here, moved, changed = (identity(compose("task=text", files[name])) for name in "abc")
    assert here == moved != changed


def test_a_tasks_own_point_is_the_same_run_as_its_values() -> None:
    assert identity(compose("task=cola")) == identity(
        compose("task=cola", "protocol.learning_rate=1e-3")
    )


def test_a_shorthand_and_what_it_stands_for_are_one_run() -> None:
    short = compose("sparsity=large_sparse", "sparsity.scale=4")
    long = compose("adapter.bottleneck=256", "sparsity.ratio=0.75")
    assert identity(short) == identity(long)


def test_seeds_share_a_setting() -> None:
    assert setting(compose("seed=1")) == setting(compose("seed=2"))
    assert setting(compose()) != setting(compose("sparsity.ratio=0.5"))
