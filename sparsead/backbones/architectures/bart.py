"""BART."""

from sparsead.backbones.architectures import roberta
from sparsead.backbones.contract import Architecture, Sites

_STACKS = ("encoder.layers.{i}", "decoder.layers.{i}")
_CROSS_ATTENTION = "decoder.layers.{i}.encoder_attn"
_ATTENTIONS = (*(f"{layer}.self_attn" for layer in _STACKS), _CROSS_ATTENTION)
_ATTENTION_OUTPUTS = tuple(f"{attention}.out_proj" for attention in _ATTENTIONS)
_FFN_OUTPUTS = tuple(f"{layer}.fc2" for layer in _STACKS)

ARCHITECTURE = Architecture(
    model_type="bart",
    sites=Sites(
        attention_output=_ATTENTION_OUTPUTS,
        ffn_output=_FFN_OUTPUTS,
        query=tuple(f"{attention}.q_proj" for attention in _ATTENTIONS),
        key=tuple(f"{attention}.k_proj" for attention in _ATTENTIONS),
        value=tuple(f"{attention}.v_proj" for attention in _ATTENTIONS),
        attention_projection=_ATTENTION_OUTPUTS,
        ffn_projection=_FFN_OUTPUTS,
        attention=_ATTENTIONS,
        ffn_input=tuple(f"{layer}.fc1" for layer in _STACKS),
        ffn_norm=tuple(f"{layer}.final_layer_norm" for layer in _STACKS),
    ),
    tokenizer=roberta.ARCHITECTURE.tokenizer,
    cross_attention=(_CROSS_ATTENTION,),
)
