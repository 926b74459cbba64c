"""Which weights of a folder are loaded, which of them are the backbone's, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from composing import compose
from sparsead.adapters.bottleneck import BottleneckAdapter
from sparsead.backbones.loading import Backbone, load_backbone
from sparsead.errors import SourceError

HEAD = (AutoModelForSequenceClassification, {"num_labels": 2})


UNTIED = "+backbone.architecture.tie_word_embeddings=false"


def save(folder: Path, model: PreTrainedModel, backbone: str) -> Backbone:
    """Write a model and its tokenizer, and return the folder as a backbone."""
    model.save_pretrained(folder)
    load_backbone(compose(f"backbone={backbone}").backbone).tokenizer.save_pretrained(folder)
    return load_backbone(compose("backbone=folder", f"backbone.path={folder}").backbone)


def tiny(backbone: str, head: type, *words: str) -> Any:
    loaded = load_backbone(compose(f"backbone={backbone}", *words).backbone)
    options = HEAD[1] if head is HEAD[0] else {}
    return loaded.model(head, options, seed=1)


@pytest.mark.parametrize("head", ["with a head", "without a head"])
def test_a_copy_of_earlier_weights_in_the_folder_is_not_loaded(tmp_path: Path, head: str) -> None:
    kind = HEAD[0] if head == "with a head" else AutoModel
    local = save(tmp_path, tiny("tiny-bert", kind), "tiny-bert")
    weights = load_file(tmp_path / "model.safetensors")
    earlier = {name: torch.full_like(weight, 7) for name, weight in weights.items()}
    save_file(earlier, tmp_path / "model_old.safetensors", {"format": "pt"})
    model: Any = local.model(*HEAD, seed=1)
    assert not (model.base_model.embeddings.word_embeddings.weight == 7).any()


@pytest.mark.parametrize("stored", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_codes_of_a_quantisation_are_not_taken_for_weights(
    tmp_path: Path, stored: torch.dtype
) -> None:
    local = save(tmp_path, tiny("tiny-bert", AutoModel), "tiny-bert")
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    name = "encoder.layer.0.attention.self.query.weight"
    weights[name] = weights[name].mul(100).to(stored)
    weights[f"{name}_scale"] = torch.ones(1)
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(SourceError, match=f"{name} is stored as .*float32") as refused:
        local.model(*HEAD, seed=1)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("method", ["modelopt", "mxfp4", "bitsandbytes", None])
def test_a_configuration_with_a_quantisation_is_refused(tmp_path: Path, method: str | None) -> None:
    save(tmp_path, tiny("tiny-bert", AutoModel), "tiny-bert")
    file = tmp_path / "config.json"
    config = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(config | {"quantization_config": {"quant_method": method}}))
    with pytest.raises(SourceError, match="quantised weights cannot be trained"):
        load_backbone(compose("backbone=folder", f"backbone.path={tmp_path}").backbone)


@pytest.mark.parametrize("fine_tuned", [True, False])
def test_the_head_for_questions_of_t5_is_new_and_trains(tmp_path: Path, fine_tuned: bool) -> None:
    head = AutoModelForQuestionAnswering if fine_tuned else AutoModel
    local = save(tmp_path, tiny("tiny-t5", head), "tiny-t5")
    models: list[Any] = [
        local.model(AutoModelForQuestionAnswering, {}, seed=seed) for seed in (1, 1, 2)
    ]
    first, again, other = (model.qa_outputs.weight for model in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(models[0].shared.weight, models[2].shared.weight)
    adapted = BottleneckAdapter(sites=["ffn_output"], bottleneck=4).insert(models[0], seed=1)
    assert adapted.head == ("qa_outputs.weight", "qa_outputs.bias")
    assert all(models[0].get_parameter(name).requires_grad for name in adapted.head)


def test_the_output_layer_of_a_text_model_is_the_backbones_also_where_it_is_no_copy() -> None:
    model = tiny("tiny-bart", AutoModelForSeq2SeqLM, UNTIED)
    assert model.lm_head.weight is not model.get_input_embeddings().weight
    adapted = BottleneckAdapter(sites=["ffn_output"], bottleneck=4).insert(model, seed=1)
    assert adapted.head == ()


def test_an_output_layer_that_is_missing_is_not_drawn_at_random(tmp_path: Path) -> None:
    model = tiny("tiny-bart", AutoModelForSeq2SeqLM, UNTIED)
    local = save(tmp_path / "whole", model, "tiny-bart")
    local.model(AutoModelForSeq2SeqLM, {}, seed=1)
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    file = tmp_path / "part" / "model.safetensors"
    weights = load_file(file)
    del weights["lm_head.weight"]
    save_file(weights, file, {"format": "pt"})
    part = load_backbone(compose("backbone=folder", f"backbone.path={tmp_path / 'part'}").backbone)
    with pytest.raises(SourceError, match="lack lm_head"):
        part.model(AutoModelForSeq2SeqLM, {}, seed=1)
