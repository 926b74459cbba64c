"""RoBERTa: the layers are BERT's."""

from dataclasses import replace

from sparsead.backbones.architectures import bert
from sparsead.backbones.contract import SmallTokenizer

ARCHITECTURE = replace(
    bert.ARCHITECTURE,
    model_type="roberta",
    tokenizer=SmallTokenizer(
        pieces="bytes",
        special={
            "bos_token": "<s>",
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "mask_token": "<mask>",
            "cls_token": "<s>",
            "sep_token": "</s>",
        },
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
    ),
    positions_behind_padding=True,
)
