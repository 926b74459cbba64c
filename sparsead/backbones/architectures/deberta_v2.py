"""DeBERTa, versions 2 and 3: BERT's layers with attention by relative positions."""

from dataclasses import replace

from sparsead.backbones.architectures import bert

_ATTENTION = "encoder.layer.{i}.attention.self"

ARCHITECTURE = replace(
    bert.ARCHITECTURE,
    model_type="deberta-v2",
    sites=replace(
        bert.ARCHITECTURE.sites,
        query=(f"{_ATTENTION}.query_proj",),
        key=(f"{_ATTENTION}.key_proj",),
        value=(f"{_ATTENTION}.value_proj",),
        attention_residual=(),
        positions=(),
    ),
    named_sites=("attention_output", "ffn_output"),
    peft_prefixes=False,
    prefixes=False,
)
