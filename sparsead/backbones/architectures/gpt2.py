"""GPT-2: a pre-LayerNorm architecture."""

from sparsead.backbones.contract import AdapterHubNames, Architecture, Sites, SmallTokenizer

_LAYER = "h.{i}"

ARCHITECTURE = Architecture(
    model_type="gpt2",
    causal=True,
    sites=Sites(
        attention_output=(f"{_LAYER}.attn.resid_dropout",),
        ffn_output=(f"{_LAYER}.mlp.dropout",),
        attention_projection=(f"{_LAYER}.attn.c_proj",),
        ffn_projection=(f"{_LAYER}.mlp.c_proj",),
        attention=(f"{_LAYER}.attn",),
        ffn_input=(f"{_LAYER}.mlp.c_fc",),
        ffn_sum=(_LAYER,),
        positions=("wpe",),
    ),
    tokenizer=SmallTokenizer(
        pieces="bytes",
        # Texts get no special tokens, and there is no token for padding.
        special=dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
    ),
    absent=dict.fromkeys(
        ("query", "key", "value"), "one layer, attn.c_attn, computes query, key and value"
    ),
    named_sites=(),
    linear=(),  # its layers are Conv1D
    positions_key="n_positions",
    positions=1024,
    adapterhub=AdapterHubNames(
        attention=dict.fromkeys(
            (f"{_LAYER}.attn.resid_dropout", f"{_LAYER}.attn.c_proj"),
            f"{_LAYER}.attention_adapters",
        ),
        ffn=dict.fromkeys(
            (f"{_LAYER}.mlp.dropout", f"{_LAYER}.mlp.c_proj", _LAYER), f"{_LAYER}.output_adapters"
        ),
        prefixes={f"{_LAYER}.attn": "self_prefix"},
        # The package's parallel adapter reads the input of the norm before the FFN.
        others=("parallel", "mam"),
    ),
    peft_prefixes=True,
)
