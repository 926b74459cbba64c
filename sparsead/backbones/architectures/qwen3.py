"""Qwen3: the layers are Llama's, with norms of each head's queries and keys."""

from dataclasses import replace

from sparsead.backbones.architectures import llama

ARCHITECTURE = replace(
    llama.ARCHITECTURE,
    model_type="qwen3",
    adapterhub=None,
    biases=("attention_bias",),
    positions=32768,
)
