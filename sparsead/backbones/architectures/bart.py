"""BART."""

from sparsead.backbones.architectures import roberta
from sparsead.backbones.contract import LINEAR, AdapterHubNames, Architecture, Sites

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
    linear=("attention_output", "ffn_output", *LINEAR),
    positions=1024,
    adapterhub=AdapterHubNames(
        attention={
            f"{layer}.self_attn.out_proj": f"{layer}.attention_adapters" for layer in _STACKS
        },
        cross_attention={
            f"{_CROSS_ATTENTION}.out_proj": "decoder.layers.{i}.cross_attention_adapters"
        },
        ffn={
            f"{layer}.{module}": f"{layer}.output_adapters"
            for layer in _STACKS
            for module in ("fc2", "final_layer_norm")
        },
        prefixes={
            "encoder.layers.{i}.self_attn": "encoder_prefix",
            "decoder.layers.{i}.self_attn": "self_prefix",
            _CROSS_ATTENTION: "cross_prefix",
        },
    ),
)
