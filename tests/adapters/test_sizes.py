"""The sizes that the configuration files state for RoBERTa-base are those of the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from composing import compose
from sparsead.adapters.accounting import parameter_accounting
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.loading import architecture_config, count_parameters

CONF = Path(__file__).parents[2] / "conf" / "adapter"


@pytest.mark.parametrize("method", ["pfeiffer", "parallel", "lora", "prefix", "mam", "bitfit"])
def test_the_file_states_the_parameters_and_their_share(method: str) -> None:
    spec = compose("backbone=roberta-base", f"adapter={method}", "pruner=none")
    with torch.device("meta"):
        config = architecture_config(spec.backbone, {})
        model = AutoModelForSequenceClassification.from_config(config)
    adapter = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)()
    adapted = adapter.insert(model, seed=1)
    counts = parameter_accounting(adapted, removed=0, stored_bytes=0)
    stated = (CONF / f"{method}.yaml").read_text("utf-8")
    assert f"{counts['adapter']:,} parameters" in stated
    assert f"{100 * counts['nominal']:.2f} %" in stated
    if method == "mam":
        sizes = {name: model.get_parameter(name).numel() for name in adapted.prunable}
        halves = [sum(n for name, n in sizes.items() if (".self." in name) == p) for p in (0, 1)]
        assert halves[0] == halves[1]


def test_the_file_of_fusion_states_what_it_trains_and_what_a_source_adds() -> None:
    spec = compose("backbone=roberta-base", "adapter=fusion").adapter
    spec.options["fusion"]["adapters"] = [
        compose("adapter=pfeiffer", "pruner=none").adapter.options
    ]
    backbone = compose("backbone=roberta-base").backbone
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(architecture_config(backbone, {}))
        adapted = ADAPTERS.bind(spec.method, spec.options)().insert(model, seed=1)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    stated = (CONF / "fusion.yaml").read_text("utf-8")
    for names in (adapted.adapter, adapted.frozen):
        count = sum(sizes[name] for name in names)
        share = 100 * count / count_parameters(model.config)
        assert f"{count:,}" in stated
        assert f"{share:.2f} %" in stated
