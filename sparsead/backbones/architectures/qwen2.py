"""Qwen2 and Qwen2.5: the layers are Llama's, with biases in query, key and value."""

from dataclasses import replace

from sparsead.backbones.architectures import llama

ARCHITECTURE = replace(
    llama.ARCHITECTURE, model_type="qwen2", adapterhub=None, biases=None, positions=32768
)
