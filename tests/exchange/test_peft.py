"""Runs exported for peft: prefixes, and classifiers of another number of classes than two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import peft
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from exported_runs import Written, batch, write_run
from sparsead.assembly.exported_peft import export_peft
from sparsead.errors import ConfigError
from sparsead.exchange.peft import shift_positions

THREE = "task=mnli"
PREFIX = ("adapter=prefix", "adapter.bottleneck=3", "adapter.prefix.scale=2")


def assert_same(model: torch.nn.Module, run: Written) -> None:
    inputs = batch(run.model)
    with torch.no_grad():
        ours, theirs = run.model(**inputs).logits, model.eval()(**inputs).logits
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


def forget_classes(base: Path) -> None:
    """Take the classes out of a backbone's configuration: those on the hub have none either."""
    config = json.loads((base / "config.json").read_text())
    for key in ("id2label", "label2id"):
        config.pop(key, None)
    (base / "config.json").write_text(json.dumps(config))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["bert", "roberta", "electra", "gpt2"])
def test_prefixes_compute_in_peft_what_they_compute_here(tmp_path: Path, backbone: str) -> None:
    run = write_run(tmp_path, f"tiny-{backbone}", THREE, *PREFIX)
    export_peft(run.record, tmp_path / "peft")
    base = AutoModelForSequenceClassification.from_pretrained(run.base)
    assert_same(peft.PeftModel.from_pretrained(base, tmp_path / "peft"), run)
    automatic = peft.AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "peft")
    assert_same(automatic, run)
    removed = sum(int((~mask).sum()) for mask in run.masks.values())
    prompt = automatic.prompt_encoder["default"].embedding.weight
    assert int((prompt == 0).sum()) == removed > 0


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["llama", "qwen"])
@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_a_decoder_s_adapter_is_loaded_as_one_that_gives_the_next_token(
    tmp_path: Path, backbone: str, method: str
) -> None:
    run = write_run(tmp_path, f"tiny-{backbone}", "task=demo_sums", f"adapter={method}")
    export_peft(run.record, tmp_path / "peft")
    automatic = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "peft")
    assert isinstance(automatic, peft.PeftModelForCausalLM)
    base = AutoModelForCausalLM.from_pretrained(run.base)
    for model in (automatic, peft.PeftModel.from_pretrained(base, tmp_path / "peft")):
        assert_same(model, run)
    prompt = {"input_ids": torch.tensor([[5, 7, 8]]), "max_new_tokens": 4, "do_sample": False}
    theirs, ours = (cast(Any, model).generate(**prompt) for model in (automatic, run.model))
    assert torch.equal(theirs, ours)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "overrides", "reason"),
    [
        ("tiny-llama", (THREE,), "compute something else in LlamaForSequenceClassification"),
        ("tiny-bert", ("task=demo_squad",), "compute something else in BertForQuestionAnswering"),
    ],
)
def test_prefixes_that_peft_computes_otherwise_are_refused(
    tmp_path: Path, backbone: str, overrides: tuple[str, ...], reason: str
) -> None:
    run = write_run(tmp_path, backbone, *overrides, *PREFIX)
    with pytest.raises(ConfigError, match=reason):
        export_peft(run.record, tmp_path / "peft")
    assert not (tmp_path / "peft").exists()


@pytest.mark.parametrize(
    ("backbone", "length", "said"),
    [
        ("tiny-bert", 7, "take up 7 of the 512 positions, so that longer texts than of 505 tokens"),
        ("tiny-roberta", 9, "take up 9 of the 512 positions, so that longer texts than of 503"),
    ],
)
def test_fewer_positions_for_tokens_are_said(
    tmp_path: Path, backbone: str, length: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """RoBERTa has 514 positions, of which the first two are for no token of a text."""
    words = ("task.max_length=510", *PREFIX, f"adapter.bottleneck={length}")
    export_peft(write_run(tmp_path, backbone, THREE, *words).record, tmp_path / "peft")
    assert said in capsys.readouterr().err


def test_a_shifted_position_has_the_row_of_the_position_before_the_prefix() -> None:
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    shifted = shift_positions(rows, 2)
    assert np.array_equal(shifted[2:], rows[:3])
    assert shifted.shape == rows.shape


@pytest.mark.slow
@pytest.mark.parametrize("method", [("adapter=lora",), ("adapter=ia3",), PREFIX])
def test_peft_s_auto_class_loads_three_classes_and_the_tokenizer(
    tmp_path: Path, method: tuple[str, ...]
) -> None:
    run = write_run(tmp_path, "tiny-bert", THREE, *method)
    forget_classes(run.base)
    export_peft(run.record, tmp_path / "peft")
    automatic = peft.AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "peft")
    assert_same(automatic, run)
    classes = automatic.get_base_model().config.id2label
    assert classes == run.model.config.id2label
    assert len(classes) == 3
    ours = AutoTokenizer.from_pretrained(run.base)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "peft")
    assert theirs("ab cd")["input_ids"] == ours("ab cd")["input_ids"]
    weights = tmp_path / "peft" / "base" / "model.safetensors"
    assert weights.resolve() == (run.base / "model.safetensors").resolve()
