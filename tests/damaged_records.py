"""Recorded runs to be damaged, and calls of every verb on them, for several test files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig

from sparsead import cli
from sparsead.commands.train import job, train_run
from sparsead.pruning.storage import WEIGHTS_FILE, load_sparse, save_sparse
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
_WHERE = ("--outputs", "OUTPUTS")
_ARCHIVE = ("--records", "PLACE/a.parquet", *_WHERE)
VERBS: dict[str, Sequence[str]] = {
    "runs": ("--format", "json", *_WHERE),
    "runs csv": ("--format", "csv", *_WHERE),
    "runs latex": ("--format", "latex", *_WHERE),
    "runs export": ("export", "PLACE/runs.csv", *_WHERE),
    "runs export parquet": ("export", "PLACE/runs.parquet", *_WHERE),
    "runs pack": ("pack", "PLACE/a.parquet", *_WHERE),
    "runs unpack": ("unpack", "PLACE/a.parquet", "--outputs", "PLACE/unpacked"),
    "runs delete": ("delete", "--all", "--yes", *_WHERE),
    "runs restore": ("restore", *_WHERE),
    "table": ("--format", "json", *_WHERE),
    "table md": ("--format", "md", *_WHERE),
    "table html": ("--format", "html", *_WHERE),
    "table --best": ("--best", *_WHERE),
    "table --records": _ARCHIVE,
    "table TABLE": ("PLACE/mine.yaml", "--format", "html", *_WHERE),
    "table TABLE --records": ("PLACE/mine.yaml", "--format", "latex", *_ARCHIVE),
    "figure TABLE": ("PLACE/mine.yaml", *_WHERE),
    "figure TABLE --records": ("PLACE/mine.yaml", *_ARCHIVE),
    "figure masks": ("masks", "RUN", *_WHERE),
    "figure curves": ("curves", *_WHERE),
    "figure sparsity": ("sparsity", *_ARCHIVE),
    "figure params": ("params", *_WHERE),
    "map": ("--format", "csv", *_WHERE),
    "map --records": ("--format", "md", *_ARCHIVE),
    "show": ("RUN", *_WHERE),
    "show --json": ("RUN", "--json", *_WHERE),
    "show --errors": ("RUN", "--errors", *_WHERE),
    "show --against": ("RUN", "--against", "OTHER", *_WHERE),
    "show --errors --against": ("OTHER", "--errors", "--against", "RUN", *_WHERE),
    "predict": ("RUN", "--input", "PLACE/rows.jsonl", *_WHERE),
    "predict --submission": ("RUN", "--submission", "PLACE/sent", *_WHERE),
    "export": ("RUN", "PLACE/peft", "--card", *_WHERE),
    "export --merged": ("RUN", "PLACE/plain", "--merged", *_WHERE),
    "export --format": ("RUN", "PLACE/hub", "--format", "adapters", "--card", *_WHERE),
    "plan": ("PLACE/mine.yaml", "outputs=OUTPUTS"),
    "reproduce": ("PLACE/mine.yaml", "outputs=OUTPUTS"),
    "compare": (*TRAIN[:-3], "pruner=snip,er", "sparsity=0.4", "seed=1,2", "outputs=OUTPUTS"),
    "train": (*TRAIN, "outputs=OUTPUTS"),
    "train start": (*TRAIN[:-1], "seed=3", "adapter.start=RUN", "outputs=OUTPUTS"),
    "completion": ("words", "sparsead show "),
    "doctor": _WHERE,
}
"""The words after a verb, which is the first word of the name."""
BEFORE = {
    "runs restore": "runs delete",
    "runs unpack": "runs pack",
    **{verb: "runs pack" for verb, words in VERBS.items() if "--records" in words},
}
"""What is called before a verb, successfully or not, because it works on what that one writes."""
Damage = Callable[[Path], object]
"""A function that damages the first of the runs below an outputs folder."""


def record_runs(place: Path) -> Path:
    """Train two runs of a table below `place`, with all caches, and write a file of rows."""
    (place / "mine.yaml").write_text(TABLE)
    (place / "rows.jsonl").write_text('{"sentence1": "A.", "sentence2": "B."}\n')
    for folder in ("outputs", "unpacked"):
        (place / folder).mkdir()
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
        result.pop("sha256", None)
        part = result
        for key in keys[:-1]:
            part = part[key]
        if to is KeyError:
            del part[keys[-1]]
        else:
            part[keys[-1]] = to
        file.write_text(json.dumps(result))

    return change


def forge_weights(outputs: Path) -> None:
    """Write the victim's configuration into its weights, as somebody would who edits both."""
    file = victim(outputs) / WEIGHTS_FILE
    stored = load_sparse(file)
    config = json.loads((file.parent / RESULT_FILE).read_text())["config"]
    save_sparse(file, stored.tensors, stored.masks, {**stored.metadata, "config": config})


def call(
    verb: str, place: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, list[str]]:
    """Call a verb in this process; return its exit status, its output and its lines of errors."""
    if verb in BEFORE:
        call(BEFORE[verb], place, run, capsys)
    names = {"OUTPUTS": place / "outputs", "PLACE": place, "RUN": run}
    names["OTHER"] = other(place / "outputs") if "OTHER" in VERBS[verb] else place
    words = []
    for word in VERBS[verb]:
        for name, path in names.items():
            word = word.replace(name, str(path))
        words.append(word)
    capsys.readouterr()
    name = verb.split()[0]
    try:
        if name == "train":
            _train(words)
        else:
            cli.run(name, words)
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
