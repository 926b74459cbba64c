"""Folders of which a part would be left out: only a head may be, everything else is refused."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from composing import compose
from exported_runs import write_run
from sparsead.assembly.build import build_adapter, build_task, insert_adapter
from sparsead.assembly.exported_adapterhub import export_adapterhub
from sparsead.assembly.exported_peft import export_peft
from sparsead.assembly.start import load_start
from sparsead.backbones.loading import load_backbone
from sparsead.config.choices import list_choices
from sparsead.errors import ConfigError, SparseadError
from sparsead.exchange.parts import check_parts
from sparsead.exchange.reading import read_adapter
from sparsead.exchange.shira import from_shira, to_shira
from sparsead.runs.foreign import read_foreign

TINY = ("backbone=tiny-bert", "task=demo_mrpc", "task.limit=16")
PLACES: dict[str, Any] = {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]}
LORA = {**PLACES, "r": 4, "lora_alpha": 4}
NORMS = ["LayerNorm", "classifier"]


def start(folder: Path, *words: str) -> None:
    """Do what a run that starts from a folder does before it prunes its adapter."""
    spec = compose(*TINY, *words, f"adapter.start={folder}")
    task = build_task(spec)
    model = load_backbone(spec.backbone).model(task.head, task.head_options, 1)
    load_start(spec, insert_adapter(spec, build_adapter(spec), model))


def write_folder(folder: Path, config: peft.PeftConfig) -> None:
    """Write a folder as peft does, whose adapter was not trained."""
    spec = compose(*TINY)
    task = build_task(spec)
    model = load_backbone(spec.backbone).model(task.head, task.head_options, 1)
    peft.get_peft_model(model, config).save_pretrained(str(folder))


AS_HERE = ("adapter=lora", "adapter.bottleneck=4", "adapter.alpha=4")
IA3 = ("adapter=ia3", "adapter.sites=[query,value]")


@pytest.mark.parametrize(
    ("config", "words", "reason"),
    [
        (peft.LoraConfig(**LORA, modules_to_save=NORMS), AS_HERE, r"LayerNorm\.\w+: this program"),
        (
            peft.LoraConfig(**LORA, trainable_token_indices={"word_embeddings": [5]}),
            AS_HERE,
            "trainable_token_indices=.*: this program only has None",
        ),
        (
            peft.LoraConfig(**LORA, init_lora_weights="pissa"),
            AS_HERE,
            "init_lora_weights=pissa: this program only has LoRA on the backbone as it was",
        ),
        (
            peft.IA3Config(**PLACES, feedforward_modules=[], modules_to_save=NORMS),
            IA3,
            r"LayerNorm\.\w+: this program has no such part",
        ),
    ],
    ids=["norms", "tokens", "pissa", "ia3"],
)
def test_a_folder_of_peft_with_more_than_the_adapter_is_refused(
    tmp_path: Path, config: peft.PeftConfig, words: tuple[str, ...], reason: str
) -> None:
    write_folder(tmp_path, config)
    with pytest.raises(ConfigError, match=reason) as refused:
        start(tmp_path, *words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("init", [True, False, "gaussian", "orthogonal"])
def test_a_trained_head_and_initial_values_on_the_plain_backbone_are_no_reason(
    tmp_path: Path, init: Any
) -> None:
    heads = ["classifier", "pooler"]
    write_folder(tmp_path, peft.LoraConfig(**LORA, modules_to_save=heads, init_lora_weights=init))
    assert any("pooler" in key for key in load_file(tmp_path / "adapter_model.safetensors"))
    start(tmp_path, *AS_HERE)


def test_every_variant_of_lora_that_peft_has_is_refused(tmp_path: Path) -> None:
    variants = {each.name for each in fields(peft.LoraConfig) if "is_lora_variant" in each.metadata}
    variants -= {"velora_config"}  # it changes how A is trained, not what A means
    assert {"use_dora", "alora_invocation_tokens"} <= variants
    for key in variants:
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, key: {"r": 1}}
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigError, match=f"{key}=.*: this program only has"):
            read_foreign(tmp_path)


@pytest.mark.parametrize("key", ["use_gating", "leave_out"])
def test_prefixes_of_adapters_that_compute_something_else_are_refused(
    tmp_path: Path, key: str
) -> None:
    prefix = {"architecture": "prefix_tuning", "flat": True, "prefix_length": 3, key: [1]}
    config = {"config": prefix, "hidden_size": 32, "model_type": "bert", "name": "x"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=rf"{key}=\[1\]: this program only has"):
        read_foreign(tmp_path)


@pytest.mark.parametrize(
    ("library", "words", "file", "key", "reason"),
    [
        (
            "adapters",
            ("adapter=prefix", "adapter.bottleneck=3"),
            "adapter",
            "bert.encoder.layer.0.attention.self.prefix_tuning.prefix_gates.x.weight",
            "this program has no such part",
        ),
        (
            "adapters",
            ("adapter=houlsby", "adapter.bottleneck=4"),
            "adapter",
            "bert.invertible_adapters.x.F.0.weight",
            "this program has no such part",
        ),
        (
            "adapters",
            AS_HERE,
            "adapter",
            "bert.encoder.layer.0.attention.self.key.loras.demo_mrpc-lora.lora_A",
            "for which this run's adapter has no place",
        ),
        (
            "peft",
            ("adapter=prefix", "adapter.bottleneck=3"),
            "adapter_model",
            "base_model.bert.embeddings.word_embeddings.weight",
            "this program has no such part",
        ),
    ],
    ids=["gates", "invertible", "other-layers", "embedding"],
)
def test_a_tensor_more_is_refused(
    tmp_path: Path, library: str, words: tuple[str, ...], file: str, key: str, reason: str
) -> None:
    run = write_run(tmp_path, "tiny-bert", "task=demo_mrpc", *words)
    write = export_peft if library == "peft" else export_adapterhub
    write(run.record, tmp_path / "theirs")
    options = run.record.result["config"]["adapter"]["options"]
    wanted = {n: tuple(run.model.get_parameter(n).shape) for n in run.adapted.adapter}
    read = partial(read_adapter, tmp_path / "theirs", options, "bert", wanted)
    assert read().keys() == wanted.keys()
    tensors = tmp_path / "theirs" / f"{file}.safetensors"
    save_file(load_file(tensors) | {key: torch.ones(2)}, tensors)
    with pytest.raises(ConfigError, match=f"it has {key}.*{reason}"):
        read()


def test_shira_beside_trained_norms_is_refused() -> None:
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors = to_shira(np.array([5.0], np.float32), np.array([4]), base, 1)
    theirs = {f"base_model.model.a.{name}": tensor for name, tensor in tensors.items()}
    theirs["base_model.model.classifier.weight"] = base
    assert from_shira(theirs, {"a": base})
    theirs["base_model.model.LayerNorm.weight"] = base
    with pytest.raises(ConfigError, match=r"LayerNorm\.weight: this program has no such part"):
        from_shira(theirs, {"a": base})


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone", [name for name in list_choices("backbone") if name.startswith("tiny-")]
)
@pytest.mark.parametrize("task", ["demo_mrpc", "demo_squad"])
def test_the_heads_of_all_backbones_are_known(backbone: str, task: str) -> None:
    spec = compose(f"backbone={backbone}", f"task={task}", "adapter=head")
    built = build_task(spec)
    try:
        model = load_backbone(spec.backbone).model(built.head, built.head_options, 1)
        head = insert_adapter(spec, build_adapter(spec), model).head
    except SparseadError:
        pytest.skip("there is no such head, or it is the backbone's own")
    assert head
    for prefix in ("", "base_model.", "base_model.model."):
        check_parts([f"{prefix}{name}" for name in head], ())
