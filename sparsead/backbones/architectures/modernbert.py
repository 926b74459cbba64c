"""ModernBERT: a pre-LayerNorm architecture, in which most layers attend to a sliding window."""

from sparsead.backbones.contract import Architecture, Sites, SmallTokenizer

_LAYER = "layers.{i}"
_ONE_PROJECTION = (
    "one layer, attn.Wqkv, computes query, key and value; adapt other layers, for instance "
    "adapter.sites=[attention_projection,ffn_projection]"
)

ARCHITECTURE = Architecture(
    model_type="modernbert",
    sites=Sites(
        attention_output=(f"{_LAYER}.attn.out_drop",),
        ffn_output=(f"{_LAYER}.mlp.Wo",),
        attention_projection=(f"{_LAYER}.attn.Wo",),
        ffn_projection=(f"{_LAYER}.mlp.Wo",),
        attention=(f"{_LAYER}.attn",),
        ffn_input=(f"{_LAYER}.mlp.Wi",),  # computes both the activated values and their gate
        ffn_sum=(_LAYER,),
    ),
    tokenizer=SmallTokenizer(
        pieces="bytes",
        special={
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "pad_token": "[PAD]",
            "mask_token": "[MASK]",
        },
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
    ),
    absent={
        **dict.fromkeys(("query", "key", "value"), _ONE_PROJECTION),
        "positions": "packed attention does not support ModernBERT's sliding windows",
    },
    own_attention_dropout=False,  # attention_dropout also sets the dropout of attention's output
    # Heads of different tasks have modules of the same names, so that no task type can be given.
    answer_head="classifier",
    linear=("ffn_output", "attention_projection", "ffn_projection", "ffn_input"),
    biases=("norm_bias", "attention_bias", "mlp_bias"),
    positions=8192,
    task_types={},
)
