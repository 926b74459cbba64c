"""The map of sites: where in an architecture the places are that adapters go to.

A new architecture is one entry of `SITES`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedModel

from sparsead.errors import ConfigError, unknown


@dataclass(frozen=True)
class Sites:
    """Names of modules, relative to the bare backbone, `{i}` standing for a layer's number.

    The output of an `attention_output` or `ffn_output` module is the sublayer's output just
    before the residual connection adds the sublayer's input to it (in BART, before dropout).
    `query`, `key` and `value` are the linear projections themselves, those of cross-attention
    included: what is adapted there is the map from input to output. So it is in
    `attention_projection` and `ffn_projection`, the last linear layers of the two sublayers, and
    in `ffn_input`, the first one of the FFN, whose input is the sublayer's. `attention` are the
    modules that attend, `ffn_norm` the LayerNorms behind the FFN's residual connection; where
    there is none, `ffn_sum` are the modules whose output is the sum that this connection gives.
    `layer` is the whole block, and `attention_residual` the module that is given an attention's
    context and the sublayer's input; it is empty where a layer cannot be computed for some of its
    tokens, as in a decoder or with relative positions. `positions` is the module that is given the
    tokens' `position_ids`; it is empty where the model's attention depends on tokens' places in
    another way.

    An empty field says that the architecture has no such place.
    """

    attention_output: tuple[str, ...]
    ffn_output: tuple[str, ...]
    query: tuple[str, ...]
    key: tuple[str, ...]
    value: tuple[str, ...]
    attention_projection: tuple[str, ...]
    ffn_projection: tuple[str, ...]
    attention: tuple[str, ...]
    ffn_input: tuple[str, ...]
    ffn_norm: tuple[str, ...]
    layer: tuple[str, ...] = ()
    attention_residual: tuple[str, ...] = ()
    ffn_sum: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()


_BERT = Sites(
    attention_output=("encoder.layer.{i}.attention.output.dropout",),
    ffn_output=("encoder.layer.{i}.output.dropout",),
    query=("encoder.layer.{i}.attention.self.query",),
    key=("encoder.layer.{i}.attention.self.key",),
    value=("encoder.layer.{i}.attention.self.value",),
    attention_projection=("encoder.layer.{i}.attention.output.dense",),
    ffn_projection=("encoder.layer.{i}.output.dense",),
    attention=("encoder.layer.{i}.attention.self",),
    ffn_input=("encoder.layer.{i}.intermediate.dense",),
    ffn_norm=("encoder.layer.{i}.output.LayerNorm",),
    layer=("encoder.layer.{i}",),
    attention_residual=("encoder.layer.{i}.attention.output",),
    positions=("embeddings.position_embeddings",),
)

_BART_ATTENTIONS = (
    "encoder.layers.{i}.self_attn",
    "decoder.layers.{i}.self_attn",
    "decoder.layers.{i}.encoder_attn",
)
_BART_OUTPUTS = tuple(f"{attention}.out_proj" for attention in _BART_ATTENTIONS)
_BART_FFN_OUTPUTS = ("encoder.layers.{i}.fc2", "decoder.layers.{i}.fc2")

_T5_ATTENTIONS = (
    "encoder.block.{i}.layer.0.SelfAttention",
    "decoder.block.{i}.layer.0.SelfAttention",
    "decoder.block.{i}.layer.1.EncDecAttention",
)
_T5_FFNS = ("encoder.block.{i}.layer.1", "decoder.block.{i}.layer.2")

SITES: dict[str, Sites] = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": _BERT,
    "bart": Sites(
        attention_output=_BART_OUTPUTS,
        ffn_output=_BART_FFN_OUTPUTS,
        query=tuple(f"{attention}.q_proj" for attention in _BART_ATTENTIONS),
        key=tuple(f"{attention}.k_proj" for attention in _BART_ATTENTIONS),
        value=tuple(f"{attention}.v_proj" for attention in _BART_ATTENTIONS),
        attention_projection=_BART_OUTPUTS,
        ffn_projection=_BART_FFN_OUTPUTS,
        attention=_BART_ATTENTIONS,
        ffn_input=("encoder.layers.{i}.fc1", "decoder.layers.{i}.fc1"),
        ffn_norm=(
            "encoder.layers.{i}.final_layer_norm",
            "decoder.layers.{i}.final_layer_norm",
        ),
    ),
    "deberta-v2": replace(
        _BERT,
        query=("encoder.layer.{i}.attention.self.query_proj",),
        key=("encoder.layer.{i}.attention.self.key_proj",),
        value=("encoder.layer.{i}.attention.self.value_proj",),
        attention_residual=(),
        positions=(),
    ),
    "distilbert": Sites(
        attention_output=("transformer.layer.{i}.attention.out_lin",),
        ffn_output=("transformer.layer.{i}.ffn.dropout",),
        query=("transformer.layer.{i}.attention.q_lin",),
        key=("transformer.layer.{i}.attention.k_lin",),
        value=("transformer.layer.{i}.attention.v_lin",),
        attention_projection=("transformer.layer.{i}.attention.out_lin",),
        ffn_projection=("transformer.layer.{i}.ffn.lin2",),
        attention=("transformer.layer.{i}.attention",),
        ffn_input=("transformer.layer.{i}.ffn.lin1",),
        ffn_norm=("transformer.layer.{i}.output_layer_norm",),
        positions=("embeddings.position_embeddings",),
    ),
    # The LayerNorms of the three below stand before their sublayers.
    "t5": Sites(
        attention_output=(
            "encoder.block.{i}.layer.0.dropout",
            "decoder.block.{i}.layer.0.dropout",
            "decoder.block.{i}.layer.1.dropout",
        ),
        ffn_output=tuple(f"{ffn}.dropout" for ffn in _T5_FFNS),
        query=tuple(f"{attention}.q" for attention in _T5_ATTENTIONS),
        key=tuple(f"{attention}.k" for attention in _T5_ATTENTIONS),
        value=tuple(f"{attention}.v" for attention in _T5_ATTENTIONS),
        attention_projection=tuple(f"{attention}.o" for attention in _T5_ATTENTIONS),
        ffn_projection=tuple(f"{ffn}.DenseReluDense.wo" for ffn in _T5_FFNS),
        attention=_T5_ATTENTIONS,
        # wi of version 1.0; of the gated two of version 1.1, the one that is activated.
        ffn_input=tuple(
            f"{ffn}.DenseReluDense.{name}" for ffn in _T5_FFNS for name in ("wi", "wi_0")
        ),
        ffn_norm=(),
        ffn_sum=_T5_FFNS,
    ),
    "gpt2": Sites(
        attention_output=("h.{i}.attn.resid_dropout",),
        ffn_output=("h.{i}.mlp.dropout",),
        query=(),  # one Conv1D, c_attn, computes query, key and value
        key=(),
        value=(),
        attention_projection=("h.{i}.attn.c_proj",),
        ffn_projection=("h.{i}.mlp.c_proj",),
        attention=("h.{i}.attn",),
        ffn_input=("h.{i}.mlp.c_fc",),
        ffn_norm=(),
        ffn_sum=("h.{i}",),
        positions=("wpe",),
    ),
    "llama": Sites(
        attention_output=("layers.{i}.self_attn.o_proj",),
        ffn_output=("layers.{i}.mlp.down_proj",),
        query=("layers.{i}.self_attn.q_proj",),
        key=("layers.{i}.self_attn.k_proj",),
        value=("layers.{i}.self_attn.v_proj",),
        attention_projection=("layers.{i}.self_attn.o_proj",),
        ffn_projection=("layers.{i}.mlp.down_proj",),
        attention=("layers.{i}.self_attn",),
        ffn_input=("layers.{i}.mlp.gate_proj",),
        ffn_norm=(),
        ffn_sum=("layers.{i}",),
        positions=("rotary_emb",),
    ),
}


_PLACES = {
    "attention_output": "end of an attention sublayer",
    "ffn_output": "end of a feed-forward sublayer",
    "query": "query projection of its own",
    "key": "key projection of its own",
    "value": "value projection of its own",
    "attention_projection": "linear layer at the end of attention",
    "ffn_projection": "linear layer at the end of a feed-forward sublayer",
    "attention": "attention module",
    "ffn_input": "beginning of a feed-forward sublayer",
    "layer": "block of its own",
    "attention_residual": "layer that can be computed for some of its tokens",
    "ffn_norm": "LayerNorm behind the feed-forward sublayer's residual connection",
    "positions": "module that is given the tokens' positions",
    "ffn_sum": "layer that ends with the feed-forward sublayer's residual connection",
}


class SiteError(ConfigError):
    """An adapter method needs a place that the architecture has not."""


def site_modules(model: PreTrainedModel, site: str) -> dict[str, nn.Module]:
    """Return the modules of one kind of site by their full name, in the order of the model.

    Args:
        model: a transformers model, with or without a head.
        site: a field of `Sites`, such as "attention_output".

    Raises:
        SiteError: the architecture is not in the map, or has no such place.
        ConfigError: the site is unknown.
    """
    architecture = model.config.model_type
    if architecture not in SITES:
        raise SiteError(unknown("backbone architecture", architecture, SITES))
    patterns = getattr(SITES[architecture], site, None)
    if patterns is None:
        raise ConfigError(unknown("adapter.sites", site, Sites.__dataclass_fields__))
    if not patterns:
        raise SiteError(f"{architecture} has no {_PLACES[site]}")
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    found = re.compile("|".join(_as_regex(prefix + pattern) for pattern in patterns))
    return {name: module for name, module in model.named_modules() if found.fullmatch(name)}


def _as_regex(pattern: str) -> str:
    return re.escape(pattern).replace(re.escape("{i}"), r"\d+")
