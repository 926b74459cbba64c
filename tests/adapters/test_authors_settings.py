"""The settings of conf/adapter that are those of a method's authors, each with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from composing import ask_for, compose
from sparsead.adapters.contract import ADAPTERS
from sparsead.config.choices import read_own_rate
from sparsead.config.search import read_search
from sparsead.report.protocol_notes import DEFAULT_RATES, PAPER_RATES
from sparsead.runs.prerequisites import find_prerequisites
from tiny_models import tiny_classifier

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize(
    ("file", "quoted"),
    [
        ("adapter/fusion", ["Pfeiffer et al. use for it on all tasks, 5e-5"]),
        ("adapter/mam", ["He et al.", "run_glue.sh", "16 prefixes, r=16 and a scale of 2"]),
        ("adapter/houlsby", ["ReLU", "GELU", "section 2.1", "backbone_norms=trained"]),
        ("adapter/houlsby_authors", ["petl/petl_factory.py", "run_glue.sh", "`ef_`"]),
        ("pruner/snip_authors", ["pruning/pruners.py", "minimum_kept: 0.0"]),
        ("adapter/lora", ["chosen on MRPC's dev set with minilm", "on another task or backbone"]),
        ("adapter/prefix", ["chosen on MRPC's dev set with minilm", "on another task or backbone"]),
        ("adapter/full", ["Devlin et al., 2019", "not\n# tuned here"]),
        ("adapter/bitfit", ["chosen with minilm"]),
        ("task/cola", ["chosen with minilm", "outside the paper's grid"]),
        ("protocol/default", ["chosen with minilm", "outside\n# the paper's grid"]),
    ],
)
def test_the_file_names_the_source_or_what_a_setting_was_tuned_on(
    file: str, quoted: list[str]
) -> None:
    text = (CONF / f"{file}.yaml").read_text("utf-8")
    assert all(words in text for words in quoted)


def test_fusion_trains_at_its_own_rate_and_its_sources_at_theirs() -> None:
    words = ["adapter=fusion", "task=cola", "adapter.fusion.tasks=[cola,mrpc]"]
    request = ask_for(*words)
    assert request.spec.protocol.learning_rate == 5e-5
    first = find_prerequisites(request.spec, words)
    assert [run.protocol.learning_rate for run in first] == [1e-3, 5e-4]
    typed = [*words, "protocol.learning_rate=2e-4"]
    assert [run.protocol.learning_rate for run in find_prerequisites(compose(*typed), typed)] == [
        2e-4,
        2e-4,
    ]


def test_loras_scaling_is_that_of_peft_at_the_same_alpha_and_rank() -> None:
    spec = compose("adapter=lora").adapter
    ours = ADAPTERS.bind(spec.method, spec.options)().insert(tiny_classifier(), 1).model
    rank, alpha = spec.options["bottleneck"], spec.options["alpha"]
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["query", "value"])
    theirs: Any = peft.get_peft_model(tiny_classifier(), config)
    layer = "bert.encoder.layer.0.attention.self.query"
    scaling = theirs.get_submodule(f"base_model.model.{layer}").scaling["default"]
    assert ours.get_submodule(f"{layer}.adapter").scale == scaling == 8


def test_mam_computes_what_he_et_al_write_at_the_sizes_of_its_file() -> None:
    """Equations 4 and 6 of He et al., written out for one layer: FFN(x) + 2 · ReLU(x W_d) W_u."""
    spec = compose("adapter=mam").adapter
    model = tiny_classifier()
    ADAPTERS.bind(spec.method, spec.options)().insert(model, 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.3 if name.rpartition(".")[2] not in ("key", "value") else 0.02)
    layer: Any = model.base_model.get_submodule("encoder.layer.0")
    attention, adapter = layer.attention.self, layer.output.dropout.adapter
    assert (attention.adapter.key.shape, adapter.down.weight.shape) == ((16, 32), (16, 32))
    states = torch.randn(2, 5, 32)

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], attention.num_attention_heads, -1).transpose(-2, -3)

    def with_prefix(prefix: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        return heads(torch.cat([(60 * prefix).expand(2, -1, -1), own], dim=1))

    keys = with_prefix(attention.adapter.key, attention.key(states))
    values = with_prefix(attention.adapter.value, attention.value(states))
    scores = heads(attention.query(states)) @ keys.transpose(-1, -2) / keys.shape[-1] ** 0.5
    context = (scores.softmax(-1) @ values).transpose(1, 2).flatten(2)
    middle = layer.attention.output(context, states)
    change = torch.relu(middle @ adapter.down.weight.T + adapter.down.bias)
    change = 2 * (change @ adapter.up.weight.T + adapter.up.bias)
    expected = layer.output.LayerNorm(
        layer.output.dense(layer.intermediate(middle)) + change + middle
    )
    torch.testing.assert_close(layer(states), expected, rtol=0, atol=1e-5)


def test_the_rates_that_a_tables_notes_know_are_those_of_conf() -> None:
    defaults = [compose("task=mrpc"), compose("task=cola"), compose("adapter=bitfit")]
    assert tuple(run.protocol.learning_rate for run in defaults) == DEFAULT_RATES
    own = [read_own_rate("task", "cola"), read_own_rate("adapter", "bitfit")]
    assert (*own, read_own_rate("adapter", "houlsby")) == (*DEFAULT_RATES[1:], None)
    assert tuple(read_search("grid", {}).learning_rate) == PAPER_RATES
