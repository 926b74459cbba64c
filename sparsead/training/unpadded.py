"""Unpadded training: linear layers see one sequence of true tokens, attention each sequence alone.

The model's own code runs unchanged. Hooks on the bare backbone pack what it is given to the shape
(1, tokens) and give the head the padded shape back. Where the sequences are travels as the keyword
argument `packing` to the attention function that is registered here. Where the head reads each
sequence's first token alone, hooks on the last layer keep no other.
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
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparsead.backbones.sites import SITES, site_modules
from sparsead.training.packing import Collator, Packing, PackingCollator

log = logging.getLogger(__name__)

AttentionFunction = Callable[..., tuple[Tensor, Tensor | None]]

_ROUNDED_TOKENS = 64
_ROUNDED_LENGTHS = 16
_SEQUENCE_HEAD = "ForSequenceClassification"
_TOKENS_HEAD = "ForQuestionAnswering"
_FUSED = "sdpa"


def unpad(model: PreTrainedModel, collator: Collator, precision: str) -> Collator:
    """Let `model` take packed batches where that is exact, and return the collator that packs.

    Exact means: positions are given by `position_ids` alone, attention looks at its own sequence
    through transformers' attention interface, and the head reads true tokens only: one of a
    sequence, or all of them, one by one. Where it is not, the model stays as it is, `collator` is
    returned, and one line says so.

    A head that chooses among a sequence's tokens gives padding the lowest logits there are: loss
    and choice are those of the sequence alone, without the padding of a batch.

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
    _attach(model)
    (positions,) = site_modules(model, "positions").values()
    rounded = precision == "bf16" and model.device.type == "cpu"
    return PackingCollator(
        collator,
        padding_idx=getattr(positions, "padding_idx", None),
        round_to=_ROUNDED_TOKENS if rounded else 1,
        round_lengths_to=_ROUNDED_LENGTHS if rounded else 1,
    )


def _obstacle(model: PreTrainedModel) -> str | None:
    name = type(model).__name__
    sites = SITES.get(model.config.model_type)
    if sites is None or not sites.positions:
        return f"{model.config.model_type} is not given its tokens' positions"
    if not name.endswith((_SEQUENCE_HEAD, _TOKENS_HEAD)):
        return f"the head of {name} may read padding"
    if not model.config._attn_implementation.endswith(_FUSED):
        return f"attention is {model.config._attn_implementation}, not {_FUSED}"
    return None


def _register(model: PreTrainedModel) -> None:
    """Wrap the attention function that is active in `model`, and take its mask function."""
    active = model.config._attn_implementation
    name = f"unpadded_{active}"
    attention = partial(_attention, padded=ALL_ATTENTION_FUNCTIONS[active])
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[active])
    model.config._attn_implementation = name


def _attach(model: PreTrainedModel) -> None:
    """Register the hooks that pack what the backbone reads and unpack what the head does."""
    backbone = model.base_model
    backbone.register_forward_pre_hook(_pack, with_kwargs=True)
    reads_first = bool(SITES[model.config.model_type].attention_residual)
    if reads_first and type(model).__name__.endswith(_SEQUENCE_HEAD):
        _FirstTokens().attach(model)
    else:
        _AllTokens().attach(model)


def _pack(_backbone: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Pack every input that has a value for each token; a padded batch passes unchanged."""
    layout: Packing | None = options.get("packing")
    if layout is None:
        return inputs, options
    packed = {name: _packed(value, layout) for name, value in options.items()}
    # Without a mask, one would be made for all tokens together; of this shape it is left alone.
    packed["attention_mask"] = layout.true.new_ones(1, 1, 1, 1)
    return tuple(_packed(value, layout) for value in inputs), packed


def _packed(values: Any, layout: Packing) -> Any:
    if not isinstance(values, Tensor) or values.shape != layout.true.shape:
        return values
    chosen = values[layout.true]
    return F.pad(chosen, (0, layout.total - len(chosen)))[None]


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
        query: (1, heads, tokens, width of a head); key and value likewise, perhaps of fewer heads.
        key: what is attended to.
        value: what is returned of it.
        attention_mask: of no meaning where the batch is packed.
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
    plain = padded is ALL_ATTENTION_FUNCTIONS[_FUSED]
    once = module.training or not torch.is_grad_enabled()  # scores may be differentiated twice
    if plain and not first_only and query.is_cuda and once:
        return _fused(module, query, key, value, packing, **options)[None], None
    inside: AttentionFunction = _products if plain else padded
    queries = _firsts(query, packing) if first_only else _rows(query, packing)
    buckets = zip(packing.buckets, queries, _rows(key, packing), _rows(value, packing), strict=True)
    contexts = [
        inside(module, *rows, None if _is_causal(module) else bucket.mask, **options)[0]
        for bucket, *rows in buckets
    ]
    order = packing.sequences if first_only else packing.tokens
    end_to_end = torch.cat([context.flatten(0, 1).flatten(1) for context in contexts])
    context = _lengthened(F.embedding(order, end_to_end), query.shape[2])
    return context.unflatten(1, (query.shape[1], -1))[None], None


def _is_causal(module: nn.Module) -> bool:
    """Tell whether no token sees those behind it, so that none sees the padding either."""
    return bool(getattr(module, "is_causal", False))


def _rows(states: Tensor, layout: Packing) -> list[Tensor]:
    """Return the states of each bucket, (sequences, heads, length, width of a head)."""
    true = _by_token(states)
    if len(true) > len(layout.tokens):
        true = true[: len(layout.tokens)]
    together: Tensor = _Rearranged.apply(true, layout.places, layout.tokens)
    parts = together.split([bucket.places.numel() for bucket in layout.buckets])
    return [
        _by_head(part.unflatten(0, bucket.places.shape), states.shape[1])
        for part, bucket in zip(parts, layout.buckets, strict=True)
    ]


def _firsts(states: Tensor, layout: Packing) -> list[Tensor]:
    """Return of each bucket the first tokens' states, (sequences, heads, 1, width of a head)."""
    tokens = _by_token(states)
    return [
        _by_head(F.embedding(bucket.places[:, :1], tokens), states.shape[1])
        for bucket in layout.buckets
    ]


def _by_token(states: Tensor) -> Tensor:
    return states.transpose(1, 2).flatten(2).squeeze(0)


def _by_head(states: Tensor, heads: int) -> Tensor:
    return states.unflatten(2, (heads, -1)).transpose(1, 2)


def _lengthened(rows: Tensor, length: int) -> Tensor:
    return rows if len(rows) == length else F.pad(rows, (0, 0, 0, length - len(rows)))


class _Rearranged(torch.autograd.Function):
    """The rows at `places`, which hold each row once, at `inverse`, and others without gradient.

    The gradient is then a gather itself, which is far faster than the sum that it is in general.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(places, inverse)
        return rows.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        places, inverse = ctx.saved_tensors
        gradient: Tensor = _Rearranged.apply(outer, inverse, places)
        return gradient, None, None


def _products(
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
    """Attend by written-out products where a CPU's fused kernel is slow: in bf16, with dropout."""
    key, value = _for_each_query(module, key, value)
    causal = _is_causal(module)
    if query.dtype is torch.float32 and not dropout:
        fused = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scaling, is_causal=causal
        )
        return fused.transpose(1, 2), None
    weights = (query * scaling) @ key.transpose(2, 3)
    if causal:
        mask = weights.new_ones(weights.shape[-2:], dtype=torch.bool).tril()
    if mask is not None:
        weights = weights.masked_fill(~mask, -torch.inf)
    weights = F.dropout(weights.softmax(dim=-1), dropout, training=dropout > 0)
    return (weights @ value).transpose(1, 2), None


def _for_each_query(module: nn.Module, *states: Tensor) -> list[Tensor]:
    """Return keys and values with as many heads as the queries have (in grouped attention)."""
    groups = getattr(module, "num_key_value_groups", 1)
    return [repeat_kv(state, groups) for state in states]


def _fused(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Packing,
    *,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> Tensor:
    """Attend by the variable-length kernel of torch's jagged tensors.

    Returns:
        The context, (tokens, heads, width of a head); zeros for tokens of no sequence.
    """
    key, value = _for_each_query(module, key, value)

    def jagged(states: Tensor) -> Tensor:
        values = states[0, :, : len(packing.tokens)].transpose(0, 1).contiguous()
        return torch.nested.nested_tensor_from_jagged(
            values, packing.offsets, min_seqlen=1, max_seqlen=packing.longest
        ).transpose(1, 2)

    context = F.scaled_dot_product_attention(
        jagged(query),
        jagged(key),
        jagged(value),
        dropout_p=dropout,
        scale=scaling,
        is_causal=_is_causal(module),
    )
    values = context.transpose(1, 2).values()
    return F.pad(values, (0, 0, 0, 0, 0, query.shape[2] - len(values)))


class _AllTokens:
    """Hooks that give the head the last layer's states of all tokens in the padded shape.

    A head that chooses among a sequence's tokens cannot choose padding.
    """

    true: Tensor | None = None

    def attach(self, model: PreTrainedModel) -> None:
        """Register the hooks on the bare backbone of `model` and on the head that chooses."""
        model.base_model.register_forward_hook(self._unpack, with_kwargs=True)
        if type(model).__name__.endswith(_TOKENS_HEAD):
            model.get_submodule("qa_outputs").register_forward_hook(self._hide_padding)

    def _unpack(self, _backbone: Any, _inputs: Any, options: dict[str, Any], output: Any) -> Any:
        layout: Packing | None = options.get("packing")
        self.true = None if layout is None else layout.true
        if layout is not None:
            states = output.last_hidden_state[0]
            output.last_hidden_state = F.embedding(layout.unpacked, states)
        return output

    def _hide_padding(self, _head: Any, _inputs: Any, logits: Tensor) -> Tensor:
        if self.true is None:
            return logits
        return logits.masked_fill(~self.true[..., None], torch.finfo(logits.dtype).min)


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
