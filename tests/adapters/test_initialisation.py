"""A small bottleneck is nested in a large one: both draw the same weights for shared units."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from composing import compose
from sparsead.adapters.initialisation import INIT_STD, initialise
from sparsead.assembly.build import build_adapter
from tiny_models import tiny_classifier


class Projections(nn.Module):
    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_units_that_two_sizes_share_have_the_same_weights(width: int, one: int, two: int) -> None:
    small, large = (Projections(width, size) for size in sorted((one, two)))
    for module in (small, large):
        names = [name for name, _ in module.named_parameters()]
        initialise(module, names, init="bert", up="up.weight", seed=3)
    shared = min(one, two)
    assert torch.equal(small.down.weight, large.down.weight[:shared])
    assert torch.equal(small.up.weight, large.up.weight[:, :shared])


def test_every_matrix_is_drawn_from_the_stated_distribution() -> None:
    module = Projections(400, 100)
    initialise(module, ["down.weight", "up.weight"], init="bert", up="up.weight", seed=3)
    down, up = module.down.weight.detach(), module.up.weight.detach()
    for weight in (down, up):
        assert weight.std().item() == pytest.approx(INIT_STD, rel=0.01)
        assert weight.mean().item() == pytest.approx(0, abs=4 * INIT_STD / 200)
    pairs = torch.stack([down.flatten(), up.T.flatten()])
    assert torch.corrcoef(pairs)[0, 1].item() == pytest.approx(0, abs=0.02)


def matrices(adapter: str, bottleneck: int) -> dict[str, Tensor]:
    spec = compose("backbone=tiny-bert", f"adapter={adapter}", f"adapter.bottleneck={bottleneck}")
    adapted = build_adapter(spec).insert(tiny_classifier(), 1)
    return {name: adapted.model.get_parameter(name).detach() for name in adapted.prunable}


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["houlsby", "pfeiffer", "parallel", "lora", "prefix", "mam"])
def test_every_adapter_with_a_bottleneck_is_nested(adapter: str) -> None:
    small, large = matrices(adapter, 4), matrices(adapter, 12)
    assert small.keys() == large.keys()
    for name, weight in small.items():
        part: Any = tuple(slice(size) for size in weight.shape)
        torch.testing.assert_close(weight, large[name][part], rtol=1e-6, atol=0)
