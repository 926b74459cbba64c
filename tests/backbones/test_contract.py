"""The entries of the architectures: read without torch, and consistent where they share names."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from dataclasses import fields

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from composing import compose
from sparsead.backbones.configs import architecture_config
from sparsead.backbones.contract import Sites, architectures
from sparsead.backbones.lengths import count_positions
from sparsead.backbones.sites import site_modules
from sparsead.config.choices import list_choices

TINY = [name for name in list_choices("backbone") if name.startswith("tiny-")]


def test_the_entries_are_read_without_torch() -> None:
    check = (
        "import sys; from sparsead.backbones.contract import architectures; architectures();"
        "print({'torch', 'transformers', 'tokenizers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


def test_reports_call_a_module_by_one_name_whichever_architecture_has_it() -> None:
    names = defaultdict(set)
    for entry in architectures().values():
        for pattern, name in entry.site_names().items():
            names[pattern].add(name)
    assert {pattern: found for pattern, found in names.items() if len(found) > 1} == {}


def test_what_is_said_to_be_absent_is() -> None:
    sites = {field.name for field in fields(Sites)}
    for entry in architectures().values():
        assert {*entry.absent, *entry.named_sites} <= sites
        assert not any(getattr(entry.sites, site) for site in entry.absent), entry.model_type


@pytest.mark.slow
@pytest.mark.parametrize("backbone", TINY)
def test_what_an_entry_says_without_torch_is_what_transformers_models_are(backbone: str) -> None:
    config = architecture_config(compose(f"backbone={backbone}").backbone, {})
    entry = architectures()[config.model_type]
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    there = [field.name for field in fields(Sites) if getattr(entry.sites, field.name)]
    found = {site: list(site_modules(model, site).values()) for site in there}
    linear = {site for site in there if all(isinstance(one, nn.Linear) for one in found[site])}
    assert {site for site in entry.linear if site in there} == linear
    assert entry.prefixes is model._can_set_attn_implementation()
    biases = [name for name, _ in model.named_parameters() if name.endswith(".bias")]
    assert bool([name for name in biases if ".pooler." not in name]) is (entry.biases is None)
    default = type(config)()
    assert count_positions({"model_type": entry.model_type}) == count_positions(
        {"model_type": entry.model_type}
        | {"max_position_embeddings": getattr(default, "max_position_embeddings", None)}
        | {"pad_token_id": default.pad_token_id}
    )
    for key in (entry.positions_key, *(entry.biases or ())):
        assert key in default.to_dict() or entry.positions is None
    for auto in (AutoModelForSequenceClassification, AutoModelForQuestionAnswering):
        assert type(config) in auto._model_mapping
    assert (type(config) in AutoModelForSeq2SeqLM._model_mapping) is bool(entry.cross_attention)
    assert not entry.causal or type(config) in AutoModelForCausalLM._model_mapping


@pytest.mark.parametrize(
    ("model_type", "module", "has"),
    [
        ("bert", "bert.encoder.layer.11.attention.self.query", True),
        ("bert", "encoder.layer.0.output.dense", True),
        ("bert", "bert.encoder.layer.0.attention.output.dense.more", False),
        ("bert", "classifier", False),
        ("gpt2", "bert.encoder.layer.0.output.dense", False),
    ],
)
def test_an_entry_knows_its_modules_with_and_without_their_model(
    model_type: str, module: str, has: bool
) -> None:
    assert architectures()[model_type].has(module) is has
