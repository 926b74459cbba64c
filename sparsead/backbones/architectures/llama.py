"""Llama: a pre-LayerNorm architecture with RMSNorms."""

from sparsead.backbones.architectures import gpt2
from sparsead.backbones.contract import LINEAR, AdapterHubNames, Architecture, Sites

_LAYER = "layers.{i}"

ARCHITECTURE = Architecture(
    model_type="llama",
    causal=True,
    sites=Sites(
        attention_output=(f"{_LAYER}.self_attn.o_proj",),
        ffn_output=(f"{_LAYER}.mlp.down_proj",),
        query=(f"{_LAYER}.self_attn.q_proj",),
        key=(f"{_LAYER}.self_attn.k_proj",),
        value=(f"{_LAYER}.self_attn.v_proj",),
        attention_projection=(f"{_LAYER}.self_attn.o_proj",),
        ffn_projection=(f"{_LAYER}.mlp.down_proj",),
        attention=(f"{_LAYER}.self_attn",),
        ffn_input=(f"{_LAYER}.mlp.gate_proj",),
        ffn_sum=(_LAYER,),
        positions=("rotary_emb",),
    ),
    tokenizer=gpt2.ARCHITECTURE.tokenizer,
    named_sites=("query", "key", "value"),
    linear=("attention_output", "ffn_output", *LINEAR),
    biases=("attention_bias", "mlp_bias"),
    positions=2048,
    adapterhub=AdapterHubNames(
        attention={f"{_LAYER}.self_attn.o_proj": f"{_LAYER}.attention_adapters"},
        ffn=dict.fromkeys((f"{_LAYER}.mlp.down_proj", _LAYER), f"{_LAYER}.output_adapters"),
        prefixes={f"{_LAYER}.self_attn": "self_prefix"},
        # The package's parallel adapter reads the input of the norm before the FFN.
        others=("parallel", "mam"),
    ),
)
