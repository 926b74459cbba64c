"""The sizes that the configuration files state for RoBERTa-base are those of the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from composing import compose
from sparsead.adapters.accounting import count_adapter_costs
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.loading import count_parameters
from sparsead.errors import ConfigError
from tiny_models import weightless_classifier

CONF = Path(__file__).parents[2] / "conf" / "adapter"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pfeiffer", "parallel", "lora", "prefix", "mam", "bitfit"])
def test_the_file_states_the_parameters_and_their_share(method: str) -> None:
    spec = compose(f"adapter={method}", "pruner=none").adapter
    model = weightless_classifier("roberta-base")
    adapted = ADAPTERS.bind(spec.method, spec.options)().insert(model, 1)
    counts = count_adapter_costs(adapted, removed=0, stored_bytes=0)
    stated = (CONF / f"{method}.yaml").read_text("utf-8")
    assert f"{counts['adapter']:,} parameters" in stated
    assert f"{100 * counts['nominal']:.2f} %" in stated
    if method == "mam":
        sizes = {name: model.get_parameter(name).numel() for name in adapted.prunable}
        halves = [sum(n for name, n in sizes.items() if (".self." in name) == p) for p in (0, 1)]
        assert halves[0] == halves[1]


@pytest.mark.slow
def test_mam_has_the_sizes_that_its_file_states_and_takes_a_length_of_its_own() -> None:
    def lengths(backbone: str, *options: str) -> set[int]:
        spec = compose("adapter=mam", *options).adapter
        model = weightless_classifier(backbone)
        adapted = ADAPTERS.bind(spec.method, spec.options)().insert(model, 1)
        keys = [name for name in adapted.prunable if name.endswith(".adapter.key")]
        return {len(model.get_parameter(name)) for name in keys}

    assert compose("adapter=mam").adapter.options["bottleneck"] == 16
    assert compose("adapter=mam").adapter.options["scale"] == 2
    assert lengths("roberta-base") == {16}
    assert lengths("roberta-base", "adapter.bottleneck=32") == {32}
    assert lengths("bart-large") == {11}
    of_xsum = ("adapter.length=30", "adapter.bottleneck=512", "adapter.scale=4")
    assert lengths("bart-large", *of_xsum) == {30}
    scaled = ("sparsity=large_sparse", "sparsity.scale=2", "adapter.length=5")
    assert lengths("roberta-base", *scaled) == {10}
    with pytest.raises(ConfigError, match=r"adapter\.length=0: must be at least 1"):
        lengths("roberta-base", "adapter.length=0")


@pytest.mark.slow
def test_the_file_of_fusion_states_what_it_trains_and_what_a_source_adds() -> None:
    spec = compose("adapter=fusion").adapter
    spec.options["fusion"]["adapters"] = [
        compose("adapter=pfeiffer", "pruner=none").adapter.options
    ]
    model = weightless_classifier("roberta-base")
    with torch.device("meta"):
        adapted = ADAPTERS.bind(spec.method, spec.options)().insert(model, 1)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    stated = (CONF / "fusion.yaml").read_text("utf-8")
    for names in (adapted.adapter, adapted.frozen):
        count = sum(sizes[name] for name in names)
        share = 100 * count / count_parameters(model.config)
        assert f"{count:,}" in stated
        assert f"{share:.2f} %" in stated
