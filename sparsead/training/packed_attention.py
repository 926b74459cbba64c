"""Attention in a packed batch: each sequence attends to itself alone.

Sequences of similar length share a batched product. On a GPU without dropout, one variable-length
kernel computes all sequences.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparsead.backbones.attention import Attention, PrefixedAttention
from sparsead.backbones.dropout import drop
from sparsead.training.packing import Packing, Rows

FUSED = "sdpa"

_UNMASKED, _CAUSAL = 0, 1
"""Values of the variable-length kernel's argument `custom_mask_type`."""
_ALIGNED = 8
"""The variable-length kernel needs heads whose width is a multiple of this number."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    padded: Attention,
    packing: Packing | None = None,
    first_only: bool = False,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Compute attention: by `padded` in a padded batch, and within each sequence in a packed one.

    Args:
        module: the attention module.
        query: (1, heads, tokens, width of a head).
        key: as `query`; it may have fewer heads.
        value: as `key`.
        attention_mask: not used if the batch is packed.
        padded: an attention function of transformers' interface.
        packing: the positions of the sequences; None if the batch is padded.
        first_only: only the sequences' first tokens have queries; queries and context are filled
            up with zeros.
        **options: dropout, scaling.

    Returns:
        The context, (1, tokens, heads, width of a head), and None.
    """
    if packing is None:
        return padded(module, query, key, value, attention_mask, **options)
    plain = padded is ALL_ATTENTION_FUNCTIONS[FUSED]
    if plain and query.is_cuda and _suits_kernel(module, query, **options):
        context = attend_by_kernel(
            module, query, key, value, packing, first_only=first_only, **options
        )
        return context[None], None
    inside = _inside(padded, query)
    queries = _firsts(query, packing) if first_only else _rows(query, packing)
    buckets = zip(packing.buckets, queries, _rows(key, packing), _rows(value, packing), strict=True)
    contexts = [
        inside(module, *rows, None if _is_causal(module) else bucket.mask, **options)[0]
        for bucket, *rows in buckets
    ]
    context = (_of_sequences if first_only else _of_tokens)(contexts, packing)
    return _lengthened(context, query.shape[2])[None], None


def _suits_kernel(module: nn.Module, query: Tensor, dropout: float = 0.0, **_: Any) -> bool:
    """Tell whether the variable-length kernel is exact here.

    With dropout it is not: its forward pass takes the number of keys to be 0 for the random draws
    (pytorch/pytorch#115590), so that all heads and sequences drop the same weights, and its
    backward pass draws others.
    """
    once = module.training or not torch.is_grad_enabled()  # scores may be differentiated twice
    return once and not dropout and query.shape[-1] % _ALIGNED == 0


def _inside(padded: Attention, query: Tensor) -> Attention:
    """Return the attention function inside a bucket; `attend_by_products` replaces the kernel.

    With prefixes it is replaced on a CPU only: on a GPU the fused kernel is fast and does not store
    the attention weights.
    """
    if padded is ALL_ATTENTION_FUNCTIONS[FUSED]:
        return attend_by_products
    if query.is_cuda or not isinstance(padded, PrefixedAttention) or padded.active != FUSED:
        return padded
    return replace(padded, function=attend_by_products)


def _is_causal(module: nn.Module) -> bool:
    """Tell whether attention is causal; then no token attends to the padding after it."""
    return bool(getattr(module, "is_causal", False))


def _rows(states: Tensor, layout: Packing) -> list[Tensor]:
    """Return the states of each bucket, (sequences, heads, length, width of a head)."""
    heads = states.shape[1]
    tokens = _by_token(states)
    if len(tokens) > layout.true_tokens:
        tokens = tokens[: layout.true_tokens]
    together = _rearranged(tokens.flatten(0, 1), layout.rows(heads), into_buckets=True)
    parts = together.split([bucket.places.numel() * heads for bucket in layout.buckets])
    return [
        part.view(len(bucket.places), heads, bucket.places.shape[1], -1)
        for part, bucket in zip(parts, layout.buckets, strict=True)
    ]


def _firsts(queries: Tensor, layout: Packing) -> list[Tensor]:
    """Return for each bucket the first tokens' queries, (sequences, heads, 1, width of a head)."""
    firsts = _by_token(queries)[: len(layout.sequences)]
    together = firsts[layout.sequences.argsort(), :, None]
    return list(together.split([len(bucket.places) for bucket in layout.buckets]))


def _by_token(states: Tensor) -> Tensor:
    """Return (tokens, heads, width of a head)."""
    return states.transpose(1, 2).squeeze(0)


def _of_tokens(contexts: list[Tensor], layout: Packing) -> Tensor:
    """Reorder the buckets' contexts by token: (tokens, heads, width of a head)."""
    heads = contexts[0].shape[2]
    end_to_end = torch.cat([context.transpose(1, 2).flatten(0, 2) for context in contexts])
    rows = _rearranged(end_to_end, layout.rows(heads), into_buckets=False)
    return rows.view(layout.true_tokens, heads, -1)


def _of_sequences(contexts: list[Tensor], layout: Packing) -> Tensor:
    """Return the first tokens' contexts, (sequences, heads, width of a head)."""
    return torch.cat(contexts).squeeze(1)[layout.sequences]


def _lengthened(rows: Tensor, length: int) -> Tensor:
    return rows if len(rows) == length else F.pad(rows, (0, 0, 0, 0, 0, length - len(rows)))


class _Rearranged(torch.autograd.Function):
    """Reorders rows from the order of packed tokens to that of the buckets, or back.

    As the rows are permuted, the gradient is a gather too, far faster than the general scatter-add.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, rows: Rows, into_buckets: bool) -> Tensor:
        ctx.rows, ctx.into_buckets = rows, into_buckets
        return states.index_select(0, rows.places if into_buckets else rows.inverse)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        gradient = _rearranged(outer, ctx.rows, not ctx.into_buckets)
        if not ctx.into_buckets:
            gradient = gradient.index_fill_(0, ctx.rows.padding, 0)
        return gradient, None, None


def _rearranged(states: Tensor, rows: Rows, into_buckets: bool) -> Tensor:
    rearranged: Tensor = _Rearranged.apply(states, rows, into_buckets)  # type: ignore[no-untyped-call]
    return rearranged


def attend_by_products(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Compute attention by explicit products where a CPU's fused kernel is slow: bf16 or dropout.

    Elsewhere the fused kernel is used.

    Args:
        module: the attention module, which may be causal.
        query: (sequences, heads, queries, width of a head).
        key: (sequences, heads, length, width of a head); it may have fewer heads.
        value: as `key`.
        mask: (sequences, 1, 1, length), True for keys to attend to; None for all keys.
        scaling: factor of the attention scores.
        dropout: the probability that an attention weight is dropped.

    Returns:
        The context, (sequences, queries, heads, width of a head), and None.
    """
    key, value = _for_each_query(module, key, value)
    # A single query attends to every key: the keys before its own are those of a prefix.
    causal = mask is None and query.shape[2] > 1 and _is_causal(module)
    if query.is_cuda or (query.dtype is torch.float32 and not dropout):
        fused = F.scaled_dot_product_attention(
            query, key, value, mask, dropout, is_causal=causal, scale=scaling
        )
        return fused.transpose(1, 2), None
    weights = (query * scaling) @ key.transpose(2, 3)
    if causal:
        mask = weights.new_ones(weights.shape[-2:], dtype=torch.bool).tril()
    if mask is not None:
        weights.add_(_added(mask, weights.dtype))
    weights = drop(weights.softmax(dim=-1), dropout)
    return (weights @ value).transpose(1, 2), None


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 0 where a mask is True and the lowest number elsewhere, to be added to the scores.

    Adding is far faster than filling the scores by the mask. A row without any True gets uniform
    weights instead of nan.
    """
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)


def _for_each_query(module: nn.Module, *states: Tensor) -> list[Tensor]:
    """Repeat keys and values until they have as many heads as the queries (grouped attention)."""
    groups = getattr(module, "num_key_value_groups", 1)
    return [repeat_kv(state, groups) for state in states]


def attend_by_kernel(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Packing,
    *,
    first_only: bool,
    scaling: float,
    **_: Any,
) -> Tensor:
    """Compute attention by torch's variable-length kernel.

    The kernel is called directly, because jagged tensors are far slower.

    Args:
        module: the attention module, which may be causal.
        query: (1, heads, tokens, width of a head).
        key: as `query`; it may have fewer heads.
        value: as `key`.
        packing: the positions of the sequences.
        first_only: only the sequences' first tokens have queries.
        scaling: factor of the attention scores.

    Returns:
        The context, (tokens, heads, width of a head); zeros for tokens that belong to no sequence.
    """
    queries, offsets, longest = packing.true_tokens, packing.offsets, packing.longest
    if first_only:  # one query per sequence
        queries, longest = len(packing.sequences), 1
        offsets = torch.arange(queries + 1, dtype=offsets.dtype, device=offsets.device)
    dtype = _computed_in(query)  # autocast does not cover the kernel, which needs one dtype for all
    keys, values = (
        states.transpose(1, 2)[:, : packing.true_tokens].to(dtype)
        for states in _for_each_query(module, key, value)
    )
    context, *_rest = torch.ops.aten._efficient_attention_forward(
        query.transpose(1, 2)[:, :queries].to(dtype),
        keys,
        values,
        bias=None,
        cu_seqlens_q=offsets,
        cu_seqlens_k=packing.offsets,
        max_seqlen_q=longest,
        max_seqlen_k=packing.longest,
        dropout_p=0.0,
        custom_mask_type=_CAUSAL if _is_causal(module) else _UNMASKED,
        compute_log_sumexp=torch.is_grad_enabled(),
        scale=scaling,
    )
    return _lengthened(context[0], query.shape[2])


def _computed_in(states: Tensor) -> torch.dtype:
    """Return the dtype in which a product of `states` is computed, autocast considered."""
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
