"""Recorded runs to be damaged, and calls of every verb on them, for several test files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig

from sparsead import cli
from sparsead.commands.train import job, train_run
from sparsead.runs.record import RESULT_FILE
from sparsead.tables.cells import list_cells
from sparsead.tables.files import load_table

TABLE = """\
title: Mine
backbones: tiny-bert
seeds: 2
columns: [{task: demo_mrpc, metric: accuracy, label: MRPC}]
overrides: [task.limit=16, protocol.epochs=1, adapter=lora, adapter.bottleneck=4, device=cpu]
rows: [{name: snip, overrides: [pruner=snip, sparsity=0.4]}]
"""
TRAIN = (
    *("backbone=tiny-bert", "task=demo_mrpc", "task.limit=16", "protocol.epochs=1", "adapter=lora"),
    *("adapter.bottleneck=4", "device=cpu", "pruner=snip", "sparsity.ratio=0.4", "seed=1"),
)
VERBS: dict[str, list[str]] = {
    "runs": ["--format", "json", "--outputs", "OUTPUTS"],
    "runs pack": ["PLACE/a.parquet", "--outputs", "OUTPUTS"],
    "runs csv": ["--format", "csv", "--outputs", "OUTPUTS"],
    "table": ["--format", "json", "--outputs", "OUTPUTS"],
    "table md": ["--format", "md", "--outputs", "OUTPUTS"],
    "table TABLE": ["PLACE/mine.yaml", "--format", "html", "--outputs", "OUTPUTS"],
    "figure TABLE": ["PLACE/mine.yaml", "--outputs", "OUTPUTS"],
    "figure masks": ["RUN", "--outputs", "OUTPUTS"],
    "show": ["RUN", "--outputs", "OUTPUTS"],
    "show --errors": ["RUN", "--errors", "--outputs", "OUTPUTS"],
    "predict": ["RUN", "--input", "PLACE/rows.jsonl", "--outputs", "OUTPUTS"],
    "predict --submission": ["RUN", "--submission", "PLACE/sent", "--outputs", "OUTPUTS"],
    "export": ["RUN", "PLACE/peft", "--outputs", "OUTPUTS"],
    "export --merged": ["RUN", "PLACE/plain", "--merged", "--outputs", "OUTPUTS"],
    "plan": ["PLACE/mine.yaml", "outputs=OUTPUTS"],
    "reproduce": ["PLACE/mine.yaml", "outputs=OUTPUTS"],
    "train": [*TRAIN, "outputs=OUTPUTS"],
    "doctor": ["--outputs", "OUTPUTS"],
}
Damage = Callable[[Path], object]
"""A function that damages the first of the runs below an outputs folder."""


def record_runs(place: Path) -> Path:
    """Train two runs of a table below `place`, with all caches, and write a file of rows."""
    (place / "mine.yaml").write_text(TABLE)
    (place / "rows.jsonl").write_text('{"sentence1": "A.", "sentence2": "B."}\n')
    (place / "outputs").mkdir()
    for cell in list_cells(load_table(str(place / "mine.yaml"), [f"outputs={place / 'outputs'}"])):
        train_run(cell.request)
    return place


def victim(outputs: Path) -> Path:
    """Return the folder of the run that is damaged."""
    return min(path for path in (outputs / "runs").iterdir() if "_seed1_" in path.name)


def other(outputs: Path) -> Path:
    """Return the folder of the run that stays whole."""
    return min(path for path in (outputs / "runs").iterdir() if "_seed2_" in path.name)


def edit(*keys: str, to: Any) -> Damage:
    """Return a function that sets a value in the victim's result; KeyError removes it.

    The checksum is removed too, so that the value itself has to be checked.
    """

    def change(outputs: Path) -> None:
        file = victim(outputs) / RESULT_FILE
        result = json.loads(file.read_text())
        del result["sha256"]
        part = result
        for key in keys[:-1]:
            part = part[key]
        if to is KeyError:
            del part[keys[-1]]
        else:
            part[keys[-1]] = to
        file.write_text(json.dumps(result))

    return change


def call(
    verb: str, place: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, list[str]]:
    """Call a verb in this process; return its exit status, its output and its lines of errors."""
    words = [
        word.replace("OUTPUTS", str(place / "outputs")).replace("PLACE", str(place))
        for word in VERBS[verb]
    ]
    words = [str(run) if word == "RUN" else word for word in words]
    name, *more = verb.split()
    first = [word for word in more if word in ("pack", "masks")]
    capsys.readouterr()
    try:
        if name == "train":
            _train(words)
        else:
            cli.run(name, [*first, *words])
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 0
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("sparsead: ")]
    assert "Traceback" not in said.err
    return status, said.out, lines


def _train(words: list[str]) -> None:
    """Do what Hydra does for `sparsead train`, except to take over this process's logging."""
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        config = hydra.compose("train", words, return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        try:
            job(config)
        finally:
            HydraConfig.instance().cfg = None
