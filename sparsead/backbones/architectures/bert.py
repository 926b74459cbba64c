"""BERT."""

from sparsead.backbones.contract import AdapterHubNames, Architecture, Sites, SmallTokenizer

_LAYER = "encoder.layer.{i}"

ARCHITECTURE = Architecture(
    model_type="bert",
    sites=Sites(
        attention_output=(f"{_LAYER}.attention.output.dropout",),
        ffn_output=(f"{_LAYER}.output.dropout",),
        query=(f"{_LAYER}.attention.self.query",),
        key=(f"{_LAYER}.attention.self.key",),
        value=(f"{_LAYER}.attention.self.value",),
        attention_projection=(f"{_LAYER}.attention.output.dense",),
        ffn_projection=(f"{_LAYER}.output.dense",),
        attention=(f"{_LAYER}.attention.self",),
        ffn_input=(f"{_LAYER}.intermediate.dense",),
        ffn_norm=(f"{_LAYER}.output.LayerNorm",),
        layer=(_LAYER,),
        attention_residual=(f"{_LAYER}.attention.output",),
        positions=("embeddings.position_embeddings",),
    ),
    tokenizer=SmallTokenizer(
        pieces="characters",
        special={
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        },
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        inputs=("input_ids", "token_type_ids", "attention_mask"),
    ),
    adapterhub=AdapterHubNames(
        attention=dict.fromkeys(
            (f"{_LAYER}.attention.output.dropout", f"{_LAYER}.attention.output.dense"),
            f"{_LAYER}.attention.output",
        ),
        ffn=dict.fromkeys(
            (f"{_LAYER}.output.dropout", f"{_LAYER}.output.dense", f"{_LAYER}.output.LayerNorm"),
            f"{_LAYER}.output",
        ),
        prefixes={f"{_LAYER}.attention.self": "self_prefix"},
    ),
    peft_prefixes=True,
    positions=512,
)
