"""DistilBERT."""

from dataclasses import replace

from sparsead.backbones.architectures import bert
from sparsead.backbones.contract import LINEAR, AdapterHubNames, Architecture, Sites

_LAYER = "transformer.layer.{i}"

ARCHITECTURE = Architecture(
    model_type="distilbert",
    sites=Sites(
        attention_output=(f"{_LAYER}.attention.out_lin",),
        ffn_output=(f"{_LAYER}.ffn.dropout",),
        query=(f"{_LAYER}.attention.q_lin",),
        key=(f"{_LAYER}.attention.k_lin",),
        value=(f"{_LAYER}.attention.v_lin",),
        attention_projection=(f"{_LAYER}.attention.out_lin",),
        ffn_projection=(f"{_LAYER}.ffn.lin2",),
        attention=(f"{_LAYER}.attention",),
        ffn_input=(f"{_LAYER}.ffn.lin1",),
        ffn_norm=(f"{_LAYER}.output_layer_norm",),
        positions=("embeddings.position_embeddings",),
    ),
    linear=("attention_output", *LINEAR),
    positions=512,
    tokenizer=replace(bert.ARCHITECTURE.tokenizer, inputs=("input_ids", "attention_mask")),
    named_sites=(),
    adapterhub=AdapterHubNames(
        attention={f"{_LAYER}.attention.out_lin": f"{_LAYER}.attention_adapters"},
        ffn=dict.fromkeys(
            (f"{_LAYER}.ffn.dropout", f"{_LAYER}.ffn.lin2", f"{_LAYER}.output_layer_norm"),
            f"{_LAYER}.output_adapters",
        ),
        prefixes={f"{_LAYER}.attention": "self"},
    ),
)
