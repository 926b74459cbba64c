"""MPNet: BERT's layers with one relative position bias, which all layers share."""

from sparsead.backbones.architectures import roberta
from sparsead.backbones.contract import Architecture, Sites

_LAYER = "encoder.layer.{i}"
_ATTENTION = f"{_LAYER}.attention.attn"

ARCHITECTURE = Architecture(
    model_type="mpnet",
    sites=Sites(
        attention_output=(f"{_LAYER}.attention.dropout",),
        ffn_output=(f"{_LAYER}.output.dropout",),
        query=(f"{_ATTENTION}.q",),
        key=(f"{_ATTENTION}.k",),
        value=(f"{_ATTENTION}.v",),
        attention_projection=(f"{_ATTENTION}.o",),
        ffn_projection=(f"{_LAYER}.output.dense",),
        attention=(_ATTENTION,),
        ffn_input=(f"{_LAYER}.intermediate.dense",),
        ffn_norm=(f"{_LAYER}.output.LayerNorm",),
        layer=(_LAYER,),
    ),
    # RoBERTa's tokenizer fits: as there, positions start after the padding token's id, which is 1.
    tokenizer=roberta.ARCHITECTURE.tokenizer,
    absent={"positions": "MPNet's relative position bias depends on a token's place in the batch"},
    positions_behind_padding=True,
    prefixes=False,
    positions=512,
)
