"""Unpadded training: linear layers process all true tokens as one sequence, without padding.

Attention still treats each sequence separately. The model's own code runs unchanged. Hooks on the
bare backbone pack its inputs to the shape (1, tokens) and restore the padded shape for the head.
The keyword argument `packing` tells the attention function registered here where the sequences
are. If the head reads only each sequence's first token, hooks on the last layer drop the others.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparsead.backbones.contract import architectures
from sparsead.backbones.heads import gives_next_token
from sparsead.backbones.sites import has_site, site_modules
from sparsead.errors import SparseadError
from sparsead.errors.display import one_line
from sparsead.errors.memory import lacks_memory
from sparsead.tasks.contract import Collator
from sparsead.training.packed_attention import FUSED, packed_attention
from sparsead.training.packing import Packing, PackingCollator
from sparsead.training.packing_check import check_equal, compute_logits, short_batch

log = logging.getLogger(__name__)

ROUNDED_TOKENS = {"fp32": 32, "bf16": 64}
"""On a CPU token counts are rounded up to a multiple of this, by precision.

Buffers, and bf16 kernels, which are compiled for each shape, are thus reused.
"""
_ROUNDED_LENGTHS = {"fp32": 1, "bf16": 16}
CACHED_WEIGHTS = 2**18
"""Attention weights per thread that are computed at once: 1 MiB in fp32, within a core's cache.

With the fused kernel, many small buckets take as long as few large ones.
"""
_SEQUENCE_HEAD = "ForSequenceClassification"
_TOKENS_HEAD = "ForQuestionAnswering"
_SLIDING = "sliding_attention"


def unpad(model: PreTrainedModel, collator: Collator, precision: str) -> Collator:
    """Prepare `model` for packed batches if they are exact, and return the collator to use.

    Packing is exact if positions are given by `position_ids` alone, attention uses transformers'
    attention interface, and the head reads no padding: it reads one token of a sequence, or each
    token separately. Otherwise the model does not change, `collator` is returned, and the reason is
    logged. The same happens where packing is found to fail on two short sequences, because another
    version of transformers or torch has changed what it relies on.

    If the head chooses among a sequence's tokens, padding gets the lowest possible logits, so that
    neither the loss nor the choice depends on the padding of the batch.

    Args:
        model: the model with its adapter, on its device.
        collator: the task's collator of padded batches.
        precision: "fp32" or "bf16"; on a CPU it determines how shapes are rounded.
    """
    obstacle = _obstacle(model)
    packing = None if obstacle is not None else _packing(collator, model, precision)
    if packing is not None:
        obstacle = _try_to_attach(model, packing)
    if packing is None or obstacle is not None:
        log.info("batches are padded: %s", obstacle)
        return collator
    return packing


def _packing(collator: Collator, model: PreTrainedModel, precision: str) -> PackingCollator:
    (positions,) = site_modules(model, "positions").values()
    on_cpu = model.device.type == "cpu"
    return PackingCollator(
        collator,
        padding_idx=getattr(positions, "padding_idx", None),
        round_to=ROUNDED_TOKENS[precision] if on_cpu else 1,
        round_lengths_to=_ROUNDED_LENGTHS[precision] if on_cpu else 1,
        most_pairs=_most_pairs(model),
    )


def _try_to_attach(model: PreTrainedModel, packing: PackingCollator) -> str | None:
    """Prepare the model, and return None if it computes a packed batch as it does a padded one.

    Otherwise, which happens only where a version of transformers or torch has changed what packing
    relies on, the model is left as it was, and the reason is returned.
    """
    batch = short_batch(model)
    expected = compute_logits(model, batch)
    active = model.config._attn_implementation
    handles: list[RemovableHandle] = []
    try:
        _register(model)
        handles += _attach(model)
        example = replace(packing, collator=lambda _: batch)([])
        check_equal(expected, compute_logits(model, example))
    except SparseadError:
        raise
    except Exception as error:  # whatever a changed call raises
        if lacks_memory(error):
            raise
        for handle in handles:
            handle.remove()
        model.config._attn_implementation = active
        versions = f"transformers {transformers.__version__} and torch {torch.__version__}"
        return one_line(f"packed ones fail with {versions} ({type(error).__name__}: {error})")
    return None


def _most_pairs(model: PreTrainedModel) -> float:
    if model.device.type != "cpu":
        return math.inf
    heads: int = model.config.num_attention_heads
    return CACHED_WEIGHTS * torch.get_num_threads() / heads


def _obstacle(model: PreTrainedModel) -> str | None:
    name = type(model).__name__
    if not has_site(model, "positions"):
        return _without_positions(model.config.model_type)
    if not (name.endswith((_SEQUENCE_HEAD, _TOKENS_HEAD)) or gives_next_token(type(model))):
        return f"the head of {name} may read padding"
    if _SLIDING in (getattr(model.config, "layer_types", None) or ()):
        return f"{model.config.model_type} has layers that attend to a sliding window"
    if not model.config._attn_implementation.endswith(FUSED):
        return f"attention is {model.config._attn_implementation}, not {FUSED}"
    return None


def _without_positions(model_type: str) -> str:
    entry = architectures().get(model_type)
    reason = f"positions cannot be passed to {model_type}"
    return reason if entry is None else entry.absent.get("positions", reason)


def _register(model: PreTrainedModel) -> None:
    """Wrap the attention function that is active in `model`, and keep its mask function."""
    active = model.config._attn_implementation
    name = f"unpadded_{active}"
    attention = partial(packed_attention, padded=ALL_ATTENTION_FUNCTIONS[active])
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[active])
    model.config._attn_implementation = name


def _attach(model: PreTrainedModel) -> list[RemovableHandle]:
    """Register the hooks that pack the backbone's inputs and unpack the head's."""
    packing = model.base_model.register_forward_pre_hook(_pack, with_kwargs=True)
    reads_first = has_site(model, "attention_residual")
    if reads_first and type(model).__name__.endswith(_SEQUENCE_HEAD):
        return [packing, *_FirstTokens().attach(model)]
    return [packing, *_AllTokens().attach(model)]


def _pack(_backbone: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Pack every input that has a value for each token; a padded batch passes unchanged."""
    layout: Packing | None = options.get("packing")
    if layout is None:
        return inputs, options
    packed = {name: _packed(value, layout) for name, value in options.items()}
    # The model would build a mask over all tokens if none were given; it keeps one of this shape.
    packed["attention_mask"] = layout.true.new_ones(1, 1, 1, 1)
    return tuple(_packed(value, layout) for value in inputs), packed


def _packed(values: Any, layout: Packing) -> Any:
    if not isinstance(values, Tensor) or values.shape != layout.true.shape:
        return values
    chosen = values.flatten()[layout.packed]
    return F.pad(chosen, (0, layout.total - layout.true_tokens))[None]


class _AllTokens:
    """Hooks that give the head the last layer's states of all tokens in the padded shape.

    A head that chooses among a sequence's tokens cannot choose padding.
    """

    true: Tensor | None = None

    def attach(self, model: PreTrainedModel) -> list[RemovableHandle]:
        """Register the hooks on the bare backbone of `model` and on the head that chooses."""
        handles = [model.base_model.register_forward_hook(self._unpack, with_kwargs=True)]
        if type(model).__name__.endswith(_TOKENS_HEAD):
            head = architectures()[model.config.model_type].answer_head
            handles.append(model.get_submodule(head).register_forward_hook(self._hide_padding))
        return handles

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
    """Hooks that compute the last layer, except its keys and values, for first tokens only.

    The layer's own hook takes the packing in each forward pass, a recomputed one included; a
    padded batch passes through unchanged.
    """

    packing: Packing | None = None

    def attach(self, model: PreTrainedModel) -> list[RemovableHandle]:
        """Register the hooks on the last layer of `model`."""
        layer, query, attention, residual = (
            list(site_modules(model, site).values())[-1]
            for site in ("layer", "query", "attention", "attention_residual")
        )
        return [
            layer.register_forward_pre_hook(self._enter, with_kwargs=True),
            query.register_forward_pre_hook(self._cut_queried),
            query.register_forward_hook(self._lengthen_queries),
            attention.register_forward_hook(self._cut_context),
            residual.register_forward_pre_hook(self._cut_residual),
            layer.register_forward_hook(self._leave),
        ]

    def _enter(self, _layer: Any, inputs: Any, options: dict[str, Any]) -> Any:
        self.packing = options.get("packing")
        return inputs, options if self.packing is None else {**options, "first_only": True}

    def _cut_queried(self, _query: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (self._firsts(inputs[0]),)

    def _lengthen_queries(self, _query: Any, _inputs: Any, queries: Tensor) -> Tensor:
        """Append zeros to the queries, because attention expects as many queries as keys."""
        if self.packing is None:
            return queries
        return F.pad(queries, (0, 0, 0, self.packing.total - queries.shape[1]))

    def _cut_context(self, _attention: Any, _inputs: Any, output: Any) -> Any:
        if self.packing is None:
            return output
        context, *rest = output
        return context[:, : len(self.packing.firsts)], *rest

    def _cut_residual(self, _residual: Any, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        context, states = inputs
        return context, self._firsts(states)

    def _firsts(self, states: Tensor) -> Tensor:
        if self.packing is None:
            return states
        return F.embedding(self.packing.firsts, states[0])[None]

    def _leave(self, _layer: Any, _inputs: Any, states: Tensor) -> Tensor:
        """Return (sequences, 1, width) to the head, which reads the first token only."""
        return states if self.packing is None else states.transpose(0, 1)
