"""Every kind of export computes what the run computes: compared by outputs, not by names."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

import sparsead
from composing import ask_for
from sparsead.assembly.exported import export_merged
from sparsead.assembly.exported_peft import export_peft as export
from sparsead.commands.export import main
from sparsead.errors import ConfigError, SourceError, SparseadError
from sparsead.runs.record import RunRecord
from sparsead.train import train

HEADS: dict[str, Any] = {
    "demo_rte": AutoModelForSequenceClassification,
    "demo_squad": AutoModelForQuestionAnswering,
    "demo_xsum": AutoModelForSeq2SeqLM,
}
OPTIONS = {
    "demo_rte": [],
    "demo_squad": ["task.max_length=300"],
    "demo_xsum": ["task.generation.num_beams=1", "task.generation.max_new_tokens=4"],
}
CASES = [
    *(("demo_rte", name) for name in ("bert", "bart", "llama", "deberta", "electra", "roberta")),
    *(("demo_squad", name) for name in ("bert", "bart", "deberta", "electra", "roberta")),
    *(("demo_xsum", name) for name in ("bart", "t5")),
]


def trained(folder: Path, task: str, backbone: str, *overrides: str) -> RunRecord:
    return train(
        ask_for(
            *(f"backbone=tiny-{backbone}", "adapter=lora", f"task={task}", *OPTIONS[task]),
            *("task.limit=8", "protocol.epochs=1", "protocol.learning_rate=0.01", "device=cpu"),
            *(f"outputs={folder / 'outputs'}", *overrides),
        )
    )


def batch(run: sparsead.assembly.trained.TrainedRun) -> dict[str, torch.Tensor]:
    """Return a padded batch of two pairs, or of two texts with what follows them."""
    texts = ["who was it that came?", "who came?"]
    if run.spec.task.name == "demo_xsum":
        return dict(
            run.tokenizer(texts, text_target=["ab", "abc"], padding=True, return_tensors="pt")
        )
    pairs = (texts, ["it was a dog </s> of the house.", "a dog"])
    return dict(run.tokenizer(*pairs, padding=True, return_tensors="pt"))


@torch.no_grad()
def outputs(model: Any, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    output = model.eval()(**inputs)
    names = ("logits", "start_logits", "end_logits")
    return [output[name] for name in names if name in output]


def assert_same(model: Any, inputs: dict[str, torch.Tensor], expected: list[torch.Tensor]) -> None:
    found = outputs(model, inputs)
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "backbone"), CASES)
def test_both_exports_compute_what_the_run_computes(
    tmp_path: Path, task: str, backbone: str
) -> None:
    record = trained(tmp_path, task, backbone)
    run = sparsead.load(record.folder)
    inputs = batch(run)
    expected = outputs(run.model, inputs)
    export_merged(record, tmp_path / "merged")
    merged = HEADS[task].from_pretrained(tmp_path / "merged")
    assert_same(merged, inputs, expected)
    own = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert own("a </s> b [SEP] c")["input_ids"] == run.tokenizer("a </s> b [SEP] c")["input_ids"]
    export(record, tmp_path / "peft")
    on_base = peft.PeftModel.from_pretrained(base(run), tmp_path / "peft")
    assert_same(on_base, inputs, expected)
    if backbone in ("bert", "electra"):  # a wrapper that dropped the types would be noticed
        without = {name: value for name, value in inputs.items() if name != "token_type_ids"}
        assert not torch.equal(outputs(on_base, without)[0], expected[0])


def base(run: sparsead.assembly.trained.TrainedRun) -> PreTrainedModel:
    from sparsead.backbones.loading import load_backbone

    return load_backbone(run.spec.backbone).model(run.task.head, run.task.head_options, seed=7)


@pytest.fixture
def own_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backbone in bb/bert below the working folder."""
    from transformers import AutoModel

    from composing import compose
    from sparsead.backbones.loading import load_backbone

    tiny = load_backbone(compose("backbone=tiny-bert").backbone)
    tiny.model(AutoModel, {}, seed=1).save_pretrained(tmp_path / "bb" / "bert")
    tiny.tokenizer.save_pretrained(tmp_path / "bb" / "bert")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "bb" / "bert"


@pytest.fixture
def moved(tmp_path: Path, own_backbone: Path) -> RunRecord:
    """A run on a backbone by a relative path, looked at from another folder."""
    return trained(tmp_path, "demo_rte", "bert", "backbone.path=bb/bert")


@pytest.mark.slow
def test_an_export_changes_nothing_about_the_files_of_the_backbone(
    own_backbone: Path, tmp_path: Path
) -> None:
    record = trained(tmp_path, "demo_rte", "bert", "task=demo_stsb", "backbone.path=bb/bert")
    (own_backbone / "model.safetensors").chmod(0o440)
    before = {file.name: file.stat().st_mode for file in own_backbone.iterdir()}
    export(record, tmp_path / "peft")
    linked = [file for file in (tmp_path / "peft" / "base").iterdir() if file.is_symlink()]
    assert own_backbone / "model.safetensors" in [link.readlink() for link in linked]
    assert {file.name: file.stat().st_mode for file in own_backbone.iterdir()} == before


@pytest.mark.slow
def test_a_backbone_by_a_relative_path_is_found_from_any_folder(
    moved: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(moved, tmp_path / "peft")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    automatic = peft.AutoPeftModelForSequenceClassification.from_pretrained(
        tmp_path / "peft", num_labels=2
    )
    run = sparsead.load(moved.folder, backbone=tmp_path / "bb" / "bert")
    assert_same(automatic, batch(run), outputs(run.model, batch(run)))
    for command in (export, export_merged):
        with pytest.raises(ConfigError, match=r"backbone\.path=bb/bert: .* --backbone FOLDER"):
            command(moved, tmp_path / "new")
    with pytest.raises(SparseadError, match=r"bb/bert: is not a folder; .* --backbone FOLDER"):
        sparsead.load(moved.folder)
    for number, flags in enumerate((["--card"], ["--merged"], ["--format", "adapters"])):
        words = [str(moved.folder), f"out{number}", *flags, "--backbone", "../bb/bert"]
        monkeypatch.setattr(sys, "argv", ["sparsead export", *words])
        main()
    written = json.loads((Path("out0") / "adapter_config.json").read_text())
    there = str(tmp_path / "elsewhere" / "../bb/bert")
    assert written["base_model_name_or_path"] == there
    assert f'from_pretrained("{there}")' in (Path("out0") / "README.md").read_text()
    described = json.loads((Path("out2") / "adapter_config.json").read_text())
    assert described["model_name"] == there
    merged = AutoModelForSequenceClassification.from_pretrained("out1")
    assert_same(merged, batch(run), outputs(run.model, batch(run)))


@pytest.mark.slow
def test_another_backbone_is_refused(moved: RunRecord, tmp_path: Path) -> None:
    weights = tmp_path / "bb" / "bert" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for command in (export, export_merged):
        with pytest.raises(SourceError, match="was trained on another backbone"):
            command(moved, tmp_path / "new")
    assert not (tmp_path / "new").exists()
