"""Unpadded training: linear layers see one sequence of true tokens, attention each sequence alone.

The model's own code runs unchanged. A packed batch has the shape (1, tokens); where its sequences
are travels as the keyword argument `packing` to the attention function that is registered here,
and hooks on the last layer keep each sequence's first token, the only one that the head reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparsead.backbones.sites import SITES, site_modules
from sparsead.training.packing import Bucket, Collator, Packing, PackingCollator

log = logging.getLogger(__name__)

AttentionFunction = Callable[..., tuple[Tensor, Tensor | None]]

_ROUNDED_TOKENS = 64
_ROUNDED_LENGTHS = 16
_ONE_TOKEN_HEADS = "ForSequenceClassification"


def unpad(model: PreTrainedModel, collator: Collator, precision: str) -> Collator:
    """Let `model` take packed batches where that is exact, and return the collator that packs.

    Exact means: positions are given by `position_ids` alone, attention looks at its own sequence
    through transformers' attention interface, and the head reads the first token only. Where it
    is not, the model stays as it is, `collator` is returned, and one line says so.

    Args:
        model: on its device, with its adapters in it.
        collator: the task's, of padded batches.
        precision: "fp32" or "bf16", which the shapes are rounded for on a CPU.
    """
    obstacle = _obstacle(model)
    if obstacle is not None:
        log.info("batches are padded: %s", obstacle)
        return collator
    _register(model)
    _FirstTokens().attach(model)
    positions = model.base_model.get_submodule("embeddings.position_embeddings")
    rounded = precision == "bf16" and model.device.type == "cpu"
    return PackingCollator(
        collator,
        padding_idx=positions.padding_idx,  # type: ignore[arg-type]
        round_to=_ROUNDED_TOKENS if rounded else 1,
        round_lengths_to=_ROUNDED_LENGTHS if rounded else 1,
    )


def _obstacle(model: PreTrainedModel) -> str | None:
    name = type(model).__name__
    sites = SITES.get(model.config.model_type)
    if sites is None or not sites.attention_residual:
        return f"{model.config.model_type} has no place to unpad at"
    if not name.endswith(_ONE_TOKEN_HEADS):
        return f"the head of {name} reads more than the first token"
    return None


def _register(model: PreTrainedModel) -> None:
    """Wrap the attention function that is active in `model`, and take its mask function."""
    active = model.config._attn_implementation
    name = f"unpadded_{active}"
    attention = partial(_attention, padded=ALL_ATTENTION_FUNCTIONS[active])
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[active])
    model.config._attn_implementation = name


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    padded: AttentionFunction,
    packing: Packing | None = None,
    first_only: bool = False,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend in a padded batch with the function `padded`, in a packed one inside each sequence.

    Args:
        module: the attention module.
        query: (1, heads, tokens, width of a head); key and value likewise.
        key: what is attended to.
        value: what is returned of it.
        attention_mask: None where the batch is packed.
        padded: an attention function of transformers' interface.
        packing: where the sequences are.
        first_only: compute the context of each sequence's first token, at the front of the
            result; behind it are zeros.
        **options: dropout, scaling.

    Returns:
        The context, (1, tokens, heads, width of a head), and None.
    """
    if packing is None:
        return padded(module, query, key, value, attention_mask, **options)
    plain = padded is ALL_ATTENTION_FUNCTIONS["sdpa"]
    once = module.training or not torch.is_grad_enabled()  # scores may be differentiated twice
    if plain and not first_only and query.is_cuda and once:
        return _fused(query, key, value, packing, options)[None], None
    states = [states[0].transpose(0, 1).flatten(1) for states in (query, key, value)]
    heads = query.shape[1]
    inside: AttentionFunction = _products if plain else padded
    contexts = []
    for bucket in packing.buckets:
        rows = _in_rows(bucket, states, heads, first_only)
        context = inside(module, *rows, bucket.mask, **options)[0]
        contexts.append(context.flatten(0, 1).flatten(1))
    order = packing.sequences if first_only else packing.tokens
    together = F.embedding(order, torch.cat(contexts))
    context = F.pad(together, (0, 0, 0, query.shape[2] - len(together)))
    return context.unflatten(1, (heads, -1))[None], None


def _in_rows(bucket: Bucket, states: list[Tensor], heads: int, first_only: bool) -> list[Tensor]:
    """Return query, key and value of a bucket, each (sequences, heads, length, width of a head).

    An embedding is the gather whose gradient is fast on a CPU and can be differentiated again.
    """
    query_places = bucket.places[:, :1] if first_only else bucket.places
    places = (query_places, bucket.places, bucket.places)
    return [
        F.embedding(place, state).unflatten(2, (heads, -1)).transpose(1, 2)
        for place, state in zip(places, states, strict=True)
    ]


def _products(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend by written-out products where a CPU's fused kernel is slow: in bf16, with dropout."""
    if query.dtype is torch.float32 and not dropout:
        fused = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
        return fused.transpose(1, 2), None
    weights = (query * scaling) @ key.transpose(2, 3)
    if mask is not None:
        weights = weights.masked_fill(~mask, -torch.inf)
    weights = F.dropout(weights.softmax(dim=-1), dropout, training=dropout > 0)
    return (weights @ value).transpose(1, 2), None


def _fused(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, options: dict[str, Any]
) -> Tensor:
    """Attend by the variable-length kernel of torch's jagged tensors.

    Returns:
        The context, (tokens, heads, width of a head).
    """

    def jagged(states: Tensor) -> Tensor:
        values = states[0].transpose(0, 1).contiguous()
        return torch.nested.nested_tensor_from_jagged(
            values, packing.offsets, min_seqlen=1, max_seqlen=packing.longest
        ).transpose(1, 2)

    context = F.scaled_dot_product_attention(
        jagged(query),
        jagged(key),
        jagged(value),
        dropout_p=options.get("dropout", 0.0),
        scale=options["scaling"],
    )
    return context.transpose(1, 2).values()


class _FirstTokens:
    """Hooks that compute the last layer, behind its attention's keys and values, for first tokens.

    The layer's own hook takes the packing in each forward pass, a recomputed one included; a
    padded batch passes through unchanged.
    """

    packing: Packing | None = None

    def attach(self, model: PreTrainedModel) -> None:
        """Register the hooks on the last layer of `model`."""
        layer, attention, residual = (
            list(site_modules(model, site).values())[-1]
            for site in ("layer", "attention", "attention_residual")
        )
        layer.register_forward_pre_hook(self._enter, with_kwargs=True)
        attention.register_forward_hook(self._cut_context)
        residual.register_forward_pre_hook(self._cut_residual)
        layer.register_forward_hook(self._leave)

    def _enter(self, _layer: Any, inputs: Any, options: dict[str, Any]) -> Any:
        self.packing = options.get("packing")
        return inputs, options if self.packing is None else {**options, "first_only": True}

    def _cut_context(self, _attention: Any, _inputs: Any, output: Any) -> Any:
        if self.packing is None:
            return output
        context, *rest = output
        return context[:, : len(self.packing.firsts)], *rest

    def _cut_residual(self, _residual: Any, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        if self.packing is None:
            return inputs
        context, states = inputs
        return context, F.embedding(self.packing.firsts, states[0])[None]

    def _leave(self, _layer: Any, _inputs: Any, states: Tensor) -> Tensor:
        """Give the head (sequences, 1, width): its first token is the only one."""
        return states if self.packing is None else states.transpose(0, 1)
