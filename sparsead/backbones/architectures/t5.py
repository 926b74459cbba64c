"""T5: a pre-LayerNorm encoder-decoder with a relative position bias."""

from sparsead.backbones.contract import AdapterHubNames, Architecture, Sites, SmallTokenizer

_CROSS_ATTENTION = "decoder.block.{i}.layer.1"
_ATTENTION_SUBLAYERS = (
    "encoder.block.{i}.layer.0",
    "decoder.block.{i}.layer.0",
    _CROSS_ATTENTION,
)
_ATTENTIONS = (
    "encoder.block.{i}.layer.0.SelfAttention",
    "decoder.block.{i}.layer.0.SelfAttention",
    f"{_CROSS_ATTENTION}.EncDecAttention",
)
_FFNS = ("encoder.block.{i}.layer.1", "decoder.block.{i}.layer.2")

ARCHITECTURE = Architecture(
    model_type="t5",
    sites=Sites(
        attention_output=tuple(f"{sublayer}.dropout" for sublayer in _ATTENTION_SUBLAYERS),
        ffn_output=tuple(f"{ffn}.dropout" for ffn in _FFNS),
        query=tuple(f"{attention}.q" for attention in _ATTENTIONS),
        key=tuple(f"{attention}.k" for attention in _ATTENTIONS),
        value=tuple(f"{attention}.v" for attention in _ATTENTIONS),
        attention_projection=tuple(f"{attention}.o" for attention in _ATTENTIONS),
        ffn_projection=tuple(f"{ffn}.DenseReluDense.wo" for ffn in _FFNS),
        attention=_ATTENTIONS,
        # Version 1.0 has wi; version 1.1 has two layers, of which wi_0 precedes the activation.
        ffn_input=tuple(f"{ffn}.DenseReluDense.{name}" for ffn in _FFNS for name in ("wi", "wi_0")),
        ffn_sum=_FFNS,
    ),
    tokenizer=SmallTokenizer(
        pieces="bytes",
        # Every text ends with </s>, and the decoder starts with the padding token.
        special={"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
        single="$A </s>",
        pair="$A </s> $B </s>",
    ),
    cross_attention=(_CROSS_ATTENTION,),
    own_attention_dropout=False,
    biases=(),
    head_width="d_kv",
    named_sites=(),
    adapterhub=AdapterHubNames(
        attention={
            f"{sublayer}.{module}": sublayer
            for sublayer in _ATTENTION_SUBLAYERS[:2]
            for module in ("dropout", "SelfAttention.o")
        },
        cross_attention=dict.fromkeys(
            (f"{_CROSS_ATTENTION}.dropout", f"{_CROSS_ATTENTION}.EncDecAttention.o"),
            _CROSS_ATTENTION,
        ),
        ffn={
            place: ffn
            for ffn in _FFNS
            for place in (f"{ffn}.dropout", f"{ffn}.DenseReluDense.wo", ffn)
        },
        # In T5 the package's parallel adapter reads the input of the LayerNorm before the FFN, and
        # its prefixes occupy positions, which shifts the relative positions of the true tokens.
        others=("parallel", "prefix", "mam"),
    ),
)
