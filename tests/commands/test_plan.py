from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from composing import ask_for
from sparsead.commands.plan import calibrate
from sparsead.tables.estimate import TIMES, format_amount


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0.4 s"), (42, "42 s"), (150, "2.5 min"), (3600, "1 h"), (443_000, "120 h")],
)
def test_a_duration_is_said_in_its_unit(seconds: float, said: str) -> None:
    assert format_amount(seconds, TIMES) == said


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
