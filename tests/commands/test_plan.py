from __future__ import annotations

import shutil
from pathlib import Path

from composing import ask_for
from sparsead.commands.plan import calibrate


def test_what_cannot_be_measured_is_said_once_for_each_reason(
    tmp_path: Path, glue_fixture: Path
) -> None:
    glue = Path(shutil.copytree(glue_fixture, tmp_path / "glue"))
    overrides = ("backbone=tiny-bert", "task=mrpc", f"task.path={glue}", f"outputs={tmp_path}")
    kinds = {name: ask_for(*overrides, f"pruner={name}") for name in ("snip", "grasp", "er")}
    (train_file,) = glue.rglob("MRPC/train.tsv")
    train_file.write_text("nothing\n", "utf-8")
    told: list[str] = []
    calibrate(kinds, told.append)
    (line,) = told
    assert line.startswith("cannot measure tiny-bert, mrpc, houlsby, snip and 2 other kinds of run")
    assert str(train_file) in line
