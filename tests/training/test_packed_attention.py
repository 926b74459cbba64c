"""Attention in packed batches, against PyTorch's: on a CPU, and by the kernel of a GPU."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sequences import LENGTHS, true_tokens
from sparsead.training.packed_attention import (
    attend_by_kernel,
    attend_by_products,
    packed_attention,
)
from sparsead.training.packing import Packing, build_packing

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def attended(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Packing,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Attend in a packed batch as a module of a backbone does in training."""
    sdpa, scaling = ALL_ATTENTION_FUNCTIONS["sdpa"], query.shape[-1] ** -0.5
    context, _ = packed_attention(
        *(torch.nn.Module(), query, key, value, None),
        **{"padded": sdpa, "packing": layout, "dropout": dropout, "scaling": scaling},
    )
    return context


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_written_out_attention_is_pytorchs(dropout: float) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 9, 8, dtype=torch.float64).unbind()
    mask = torch.ones(2, 1, 1, 9, dtype=torch.bool)
    mask[1, ..., 6:] = False
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
    states = (torch.nn.Module(), query, key, value, mask)
    draws = [
        attend_by_products(*states, scaling=8**-0.5, dropout=dropout)[0]
        for _ in range(2000 if dropout else 1)
    ]
    got, tolerance = torch.stack(draws).mean(dim=0), 0.15 if dropout else 1e-12
    torch.testing.assert_close(got.transpose(1, 2), expected, rtol=0, atol=tolerance)


class GroupedAttention(torch.nn.Module):
    """What the kernel reads of an attention module whose queries share keys and values."""

    def __init__(self, groups: int, is_causal: bool) -> None:
        super().__init__()
        self.num_key_value_groups = groups
        self.is_causal = is_causal


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_the_kernel_on_cuda_attends_inside_each_sequence(first_only: bool, causal: bool) -> None:
    layout = build_packing(true_tokens(LENGTHS), round_to=64).to("cuda")
    module = GroupedAttention(groups=2, is_causal=causal)
    query, key, value = (
        torch.randn(1, heads, layout.total, 8, device="cuda") for heads in (4, 2, 2)
    )
    fused = attend_by_kernel(
        module, query, key, value, layout, first_only=first_only, scaling=8**-0.5
    )
    assert fused.shape == (layout.total, 4, 8)
    for index, (start, length) in enumerate(zip(layout.firsts.tolist(), LENGTHS, strict=True)):
        place, queries = (index, 1) if first_only else (start, length)
        own = slice(start, start + length)
        expected = torch.nn.functional.scaled_dot_product_attention(
            *(query[:, :, place : place + queries], key[:, :, own], value[:, :, own]),
            enable_gqa=True,
            is_causal=causal,
        )
        got = fused[place : place + queries].transpose(0, 1)[None]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, needs_cuda])]
)
@pytest.mark.parametrize("width", [8, 12])
@pytest.mark.parametrize("lengths", [(6, 6), (40, 3, 33)])
def test_gradients_are_of_the_weights_that_were_not_dropped(
    device: str, width: int, lengths: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layout = build_packing(true_tokens(lengths)).to(device)
    query, key, value = torch.randn(3, 1, 2, layout.total, width, device=device).unbind()
    value.requires_grad_()
    context = attended(query, key, value, layout, dropout=0.5)
    outer = torch.randn_like(context)
    (gradient,) = torch.autograd.grad(context, value, outer)
    # the context is linear in the values once it is known which weights are dropped
    torch.testing.assert_close((gradient * value).sum(), (context * outer).sum())


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, needs_cuda])]
)
def test_each_head_and_sequence_drops_its_own_weights(device: str) -> None:
    torch.manual_seed(0)
    layout = build_packing(true_tokens((40, 40))).to(device)
    query, key, value = torch.randn(3, 1, 1, 40, 8, device=device).repeat(1, 1, 2, 2, 1).unbind()
    context = attended(query, key, value, layout, dropout=0.5)[0]
    drawn = [rows for half in context.split(40) for rows in half.unbind(1)]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(drawn, 2))
    whole = attended(query, key, value, layout)[0]
    torch.testing.assert_close(whole[:40, 0], whole[40:, 1])


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("width", [8, 12])
def test_dropout_on_cuda_scales_the_weights_that_are_left(width: int) -> None:
    torch.manual_seed(0)
    layout = build_packing(true_tokens(LENGTHS)).to("cuda")
    query, key, value = torch.randn(3, 1, 4, layout.total, width, device="cuda").unbind()
    draws = [attended(query, key, value, layout, dropout=0.5) for _ in range(2000)]
    expected = attended(query, key, value, layout)
    torch.testing.assert_close(torch.stack(draws).mean(dim=0), expected, rtol=0, atol=0.25)


def test_the_kernel_is_given_one_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []

    def kernel(*states: torch.Tensor, **_: object) -> tuple[torch.Tensor, None]:
        seen.extend(state.dtype for state in states)
        return states[0], None

    monkeypatch.setattr(torch.ops.aten, "_efficient_attention_forward", kernel)
    layout = build_packing(true_tokens(LENGTHS))
    query, key, value = torch.randn(3, 1, 2, layout.total, 8).unbind()
    states = (query, key, value.bfloat16())  # as rotary positions leave them under autocast
    with torch.autocast("cpu", torch.bfloat16):
        attend_by_kernel(torch.nn.Module(), *states, layout, first_only=False, scaling=1.0)
    assert seen == [torch.bfloat16] * 3
