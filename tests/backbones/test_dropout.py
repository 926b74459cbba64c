"""Dropout from random bytes: its distribution, its gradient, and where models use it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForSequenceClassification

from composing import compose
from sparsead.backbones.dropout import Dropout, draw_by_the_byte, drop
from sparsead.backbones.loading import load_backbone

COUNT = 4_000_000


@pytest.mark.parametrize("p", [0.1, 0.5, 0.0005, 0.003, 0.9, 0.9999, 25 / 256])
def test_values_are_dropped_with_probability_p_and_the_rest_keeps_the_mean(p: float) -> None:
    torch.manual_seed(1)
    dropped = drop(torch.ones(COUNT), p)
    share = (dropped == 0).double().mean().item()
    deviation = (p * (1 - p) / COUNT) ** 0.5
    assert abs(share - p) < 4.5 * deviation  # rounded to whole bytes, p = 0.1 is 16 away
    assert torch.all((dropped == 0) | torch.isclose(dropped, torch.tensor(1 / (1 - p))))


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(1)
    dropped = (drop(torch.ones(COUNT), 0.1) == 0).double()
    for lag in (1, 2, 7, 8, 64):
        both = (dropped[lag:] * dropped[:-lag]).mean().item()
        assert both == pytest.approx(0.01, abs=4.5 * (0.01 / COUNT) ** 0.5), lag


@given(st.integers(0, 2**32), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_the_seed_decides_and_the_gradient_is_the_factor(seed: int, shape: list[int]) -> None:
    x = torch.rand(shape, dtype=torch.float64).add(1).requires_grad_()
    results = []
    for _ in range(2):
        torch.manual_seed(seed)
        dropped = drop(x, 0.3)
        results.append((dropped, torch.autograd.grad(dropped.sum(), x)[0], torch.rand(1)))
    (one, gradient, after), (two, *_, after_two) = results
    assert torch.equal(one, two)
    assert torch.equal(after, after_two)
    torch.testing.assert_close(one, x * gradient)


def test_other_states_of_memory_and_dtypes_are_dropped_alike() -> None:
    x = torch.rand(7, 5).add(1)
    expected = None
    for given_x in (x, x.t().contiguous().t(), x.bfloat16()):
        torch.manual_seed(3)
        kept = drop(given_x, 0.5) != 0
        assert expected is None or torch.equal(kept, expected)
        expected = kept
    torch.testing.assert_close(drop(torch.ones(99).bfloat16(), 0.5).unique().tolist(), [0.0, 2.0])


def test_nothing_is_drawn_where_nothing_or_everything_is_dropped() -> None:
    x, before = torch.ones(5), torch.get_rng_state()
    assert torch.equal(drop(x, 0.0), x)
    assert torch.equal(drop(x, 1.0), torch.zeros(5))
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert drop(torch.ones(0, 3), 0.5).shape == (0, 3)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="dropout probability"):
        drop(x, 1.5)


def test_plain_dropouts_of_a_model_are_replaced_and_no_others() -> None:
    shared = nn.Dropout(0.25).eval()
    inner = nn.Sequential(nn.Dropout(0.5, True))
    model = nn.Sequential(shared, nn.Dropout1d(0.5), inner, shared)
    draw_by_the_byte(model)
    first = model[0]
    assert [type(each) for each in (first, model[1], inner[0])] == [
        Dropout,
        nn.Dropout1d,
        nn.Dropout,
    ]
    assert first is model[3]
    assert isinstance(first, Dropout)
    assert (first.p, first.training) == (0.25, False)


@pytest.mark.parametrize("backbone", ["minilm", "tiny-roberta", "tiny-t5", "tiny-gpt2"])
def test_backbones_draw_by_the_byte(backbone: str) -> None:
    loaded = load_backbone(compose(f"backbone={backbone}", "backbone.dropout=0.1").backbone)
    model = loaded.model(AutoModelForSequenceClassification, {"num_labels": 2}, seed=1)
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert dropouts
    assert all(type(module) is Dropout for module in dropouts)
    assert {module.p for module in dropouts} == {0.1}
    assert {module.training for module in model.modules()} == {model.training}
