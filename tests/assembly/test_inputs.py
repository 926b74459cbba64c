"""Cells of one process share what they read; a cell's result is that of the cell alone."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from transformers import AutoModel

from composing import ask_for, compose
from exhaustive import choose
from sparsead.assembly import inputs
from sparsead.assembly.inputs import Inputs
from sparsead.backbones.loading import load_backbone
from sparsead.errors import ConfigError
from sparsead.runs.request import RunRequest
from sparsead.train import train


def run(outputs: Path, backbone: Path, glue: Path, *overrides: str) -> RunRequest:
    return ask_for(
        *("backbone=tiny-bert", f"backbone.path={backbone}", "task=mrpc", f"task.path={glue}"),
        *(f"outputs={outputs}", "device=cpu", "protocol.epochs=1", *overrides),
    )


@pytest.mark.slow
def test_a_cell_of_a_sweep_gives_the_bits_of_the_cell_alone(
    tmp_path: Path, glue_fixture: Path
) -> None:
    backbone = tmp_path / "backbone"
    tiny = load_backbone(compose("backbone=tiny-bert").backbone)
    tiny.model(AutoModel, {}, seed=1).save_pretrained(backbone)
    tiny.tokenizer.save_pretrained(backbone)
    before = digests(backbone)
    others = (("adapter=full",), ("adapter=bitfit",), ("adapter=lora", "seed=2"))
    for other in choose(others, [("adapter=full",)]):  # it changes the most of the backbone
        train(run(tmp_path / "sweep", backbone, glue_fixture, *other))
    swept = train(run(tmp_path / "sweep", backbone, glue_fixture))
    os.utime(backbone / "config.json")  # it is then read anew
    alone = train(run(tmp_path / "alone", backbone, glue_fixture))
    for key in ("scores", "history", "sparsity", "parameters", "data"):
        assert swept.result[key] == alone.result[key], key
    weights = [(record.folder / "adapter.safetensors").read_bytes() for record in (swept, alone)]
    assert weights[0] == weights[1]
    assert digests(backbone) == before


@pytest.mark.slow
def test_inputs_are_read_once_and_again_when_a_file_changes(
    tmp_path: Path, glue_fixture: Path
) -> None:
    glue = Path(shutil.copytree(glue_fixture, tmp_path / "glue"))

    def read(*overrides: str) -> Inputs:
        return inputs.read_inputs(
            compose("backbone=tiny-bert", "task=mrpc", f"task.path={glue}", *overrides)
        )

    first = read("seed=1")
    assert read("seed=2", "adapter=lora") is first
    assert read("protocol.selection=0.2") is not first
    (train_file,) = glue.rglob("MRPC/train.tsv")
    lines = train_file.read_text("utf-8").splitlines(keepends=True)
    train_file.write_text("".join(lines[:-3]), "utf-8")
    assert len(read("seed=1").data["train"]) == len(first.data["train"]) - 3


def test_what_has_no_such_head_is_refused_before_anything_is_tokenised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inputs, "encode_once", None)
    with pytest.raises(ConfigError, match="a bert has no decoder"):
        inputs.read_inputs(compose("backbone=tiny-bert", "task=demo_xsum"))


def test_texts_to_generate_that_have_no_positions_are_refused_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inputs, "encode_once", lambda *_: ({}, {}))
    made = ("task=demo_xsum", "task.generation.max_new_tokens=600")
    with pytest.raises(ConfigError, match=r"task\.generation\.max_new_tokens=600: .* 512 tokens"):
        inputs.read_inputs(compose("backbone=tiny-bart", *made))
    inputs.read_inputs(compose("backbone=tiny-t5", *made))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(folder.iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
