"""Compute the expected values of the adapters with an independent implementation, `adapters`.

That package pins another version of transformers, so that this script needs its own environment:

    python -m venv /tmp/equality
    /tmp/equality/bin/pip install adapters==1.3.0 transformers==4.57.6 torch==2.13.0
    /tmp/equality/bin/python scripts/make_equality_fixtures.py tests/data/equality

For each architecture it writes a file with the weights of a tiny backbone, the inputs and a probe,
and for each architecture and method a file with the adapter's weights, the last hidden state, and
the gradients of (last hidden state * probe).sum(). Attention is eager: under sdpa the package
leaves the decoder's causal mask to PyTorch, which does not allow for the prefix. Parameters have
the names of sparsead. Nothing but this translation of names depends on sparsead.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from adapters.composition import Fuse
from safetensors.torch import save_file
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)

import adapters

BERT_SIZE = {
    "vocab_size": 24,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
}
BART_SIZE = {
    "vocab_size": 24,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 16,
}
T5_SIZE = {
    "vocab_size": 24,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
}
# T5 does not scale its attention scores: at 0.3 they would saturate, and a gradient's rounding
# errors, which differ between processors, would be a hundred times as large.
SPREADS = {"bert": 0.3, "roberta": 0.3, "bart": 0.3, "t5": 0.25}
SIZES = {"bert": BERT_SIZE, "roberta": BERT_SIZE, "bart": BART_SIZE, "t5": T5_SIZE}
BACKBONES: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertModel(
        BertConfig(**BERT_SIZE, attn_implementation="eager"), add_pooling_layer=False
    ),
    "roberta": lambda: RobertaModel(
        RobertaConfig(**BERT_SIZE, attn_implementation="eager"), add_pooling_layer=False
    ),
    "bart": lambda: BartModel(BartConfig(**BART_SIZE, attn_implementation="eager")),
    "t5": lambda: T5Model(T5Config(**T5_SIZE)),
}
METHODS: dict[str, Any] = {
    "houlsby": adapters.DoubleSeqBnConfig(
        reduction_factor=4, non_linearity="relu", scaling=0.5, cross_adapter=True
    ),
    "houlsby-norm-after": adapters.DoubleSeqBnConfig(
        reduction_factor=4, ln_after=True, cross_adapter=True
    ),
    "pfeiffer": adapters.SeqBnConfig(reduction_factor=4, non_linearity="gelu"),
    "pfeiffer-norm-before": adapters.SeqBnConfig(reduction_factor=4, ln_before=True),
    "parallel": adapters.ParBnConfig(reduction_factor=4),
    "lora": adapters.LoRAConfig(r=3, alpha=6),
    "prefix": adapters.PrefixTuningConfig(flat=True, prefix_length=3, dropout=0.0),
    "fusion": adapters.SeqBnConfig(reduction_factor=4),
}
# The length at which prefixes have as many weights as parallel adapters of 4, rounded.
MAM_LENGTHS = {"bert": 4, "roberta": 4, "bart": 3}
ATTENTIONS = {
    ".layer.": {"self_prefix": "encoder.layer.{}.attention.self"},
    ".layers.": {
        "encoder_prefix": "encoder.layers.{}.self_attn",
        "self_prefix": "decoder.layers.{}.self_attn",
        "cross_prefix": "decoder.layers.{}.encoder_attn",
    },
    ".block.": {
        "encoder_prefix": "encoder.block.{}.layer.0.SelfAttention",
        "self_prefix": "decoder.block.{}.layer.0.SelfAttention",
        "cross_prefix": "decoder.block.{}.layer.1.EncDecAttention",
    },
}
RENAMED = [
    (r"\.(attention_adapters)\.adapters", ".self_attn.out_proj.adapters"),
    (r"\.(cross_attention_adapters)\.adapters", ".encoder_attn.out_proj.adapters"),
    (r"\.adapters\.\w\.adapter_norm_(before|after)\.", ".adapter.norm."),
    (r"\.adapters\.\w\.adapter_down\.\d\.", ".adapter.down."),
    (r"\.adapters\.\w\.adapter_up\.", ".adapter.up."),
    (r"\.loras\.\w\.(lora_[AB])$", r".adapter.\1.weight"),
    (r"\.adapter_fusion_layer\.[\w,]+\.", ".adapter."),
]
AT_FFN = {
    "sum": (".output.LayerNorm.adapter", ".final_layer_norm.adapter"),
    "end": (".output.dropout.adapter", ".fc2.adapter"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    packages = ("adapters", "transformers", "torch")
    metadata = {package: version(package) for package in packages}
    for architecture, build in BACKBONES.items():
        backbone, inputs, probe = make_backbone(build, architecture)
        given = {f"input.{name}": value for name, value in inputs.items()} | {"probe": probe}
        weights = {f"weight.{name}": value for name, value in backbone.items()}
        described = metadata | {"size": json.dumps(SIZES[architecture])}
        save_file(given | weights, folder / f"{architecture}.safetensors", described)
        for method, config in methods(architecture).items():
            model = build()
            model.load_state_dict(backbone, strict=False)
            expected = expect(model, method, config, SPREADS[architecture], inputs, probe)
            save_file(expected, folder / f"{architecture}-{method}.safetensors", metadata)


def methods(architecture: str) -> dict[str, Any]:
    if architecture == "t5":
        # In T5 the package's parallel adapter reads the input of the LayerNorm before the FFN, and
        # its prefixes occupy positions, which shifts the relative positions of the true tokens.
        return {n: config for n, config in METHODS.items() if n not in ("parallel", "prefix")}
    prefix = METHODS["prefix"].replace(prefix_length=MAM_LENGTHS[architecture])
    return METHODS | {"mam": adapters.MAMConfig(prefix, METHODS["parallel"])}


def make_backbone(build: Callable[[], PreTrainedModel], architecture: str) -> tuple[Any, Any, Any]:
    torch.manual_seed(1)
    model = build()
    randomise(model, SPREADS[architecture])
    tokens = torch.randint(4, 24, (2, 6))
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    inputs = {"input_ids": tokens, "attention_mask": mask}
    if architecture in ("bart", "t5"):
        inputs["decoder_input_ids"] = torch.randint(4, 24, (2, 5))
    state = {name: p.detach().clone() for name, p in model.named_parameters()}
    probe = 0.2 * torch.randn(2, 5 if "decoder_input_ids" in inputs else 6, 16)
    return state, inputs, probe


@torch.no_grad()
def randomise(model: torch.nn.Module, spread: float, names: str = "") -> None:
    """Draw every parameter large enough to affect the output; LayerNorm weights around 1."""
    for name, parameter in model.named_parameters():
        if re.search(names, name):
            parameter.normal_(0, spread)
            if re.search(r"norm\w*\.weight", name, re.IGNORECASE):
                parameter.add_(1.0)


def expect(
    model: Any,
    method: str,
    config: Any,
    spread: float,
    inputs: dict[str, torch.Tensor],
    probe: torch.Tensor,
) -> dict[str, torch.Tensor]:
    own = {name for name, _ in model.named_parameters()}
    adapters.init(model)
    for name in "ab" if method == "fusion" else "a":
        model.add_adapter(name, config=config)
    if method == "fusion":
        model.add_adapter_fusion(Fuse("a", "b"))
        model.set_active_adapters(Fuse("a", "b"))
    else:
        model.set_active_adapters("a")
    model.eval()
    torch.manual_seed(2)
    added = [name for name, _ in model.named_parameters() if name not in own]
    randomise(model, spread, "|".join(re.escape(name) + "$" for name in added))
    model.requires_grad_(True)
    state = model(**inputs).last_hidden_state
    (state * probe).sum().backward()
    tensors = {"state": state.detach()}
    for name in added:
        parameter = model.get_parameter(name)
        if method != "fusion" and not parameter.grad.any():
            raise SystemExit(f"{method}: {name} has no gradient to compare")
        for kind, value in (("adapter", parameter.detach()), ("gradient", parameter.grad)):
            tensors |= {f"{kind}.{n}": v for n, v in translate(name, value, method).items()}
    if method == "fusion":
        tensors["regulariser"] = model.get_fusion_regularization_loss().detach()
    return {name: value.contiguous() for name, value in tensors.items()}


def translate(name: str, value: torch.Tensor, method: str) -> dict[str, torch.Tensor]:
    if name.endswith("control_trans"):
        return split_prefix(name, value)
    task = re.search(r"adapters\.([ab])\.", name)
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    summed = method.startswith(("pfeiffer", "fusion"))
    for theirs, ours in zip(
        (r"(?<!attention)\.output\.adapter", r"\.output_adapters\.adapter"),
        AT_FFN["sum" if summed else "end"],
        strict=True,
    ):
        name = re.sub(theirs, ours, name)
    name = name.replace(".attention.output.adapter", ".attention.output.dropout.adapter")
    if not summed:
        name = re.sub(r"(block\.\d\.layer\.\d)\.adapter", r"\1.dropout.adapter", name)
    if method == "fusion" and task:
        name = name.replace(".adapter.", f".adapter.tasks.{'ab'.index(task[1])}.")
    return {name: value}


def split_prefix(name: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    """Split (l * layers * 2 * width) into each layer's keys and values, (l, width)."""
    location = re.search(r"(\w+_prefix)\.control_trans", name)[1]
    module = ATTENTIONS[re.search(r"\.(block|layers?)\.", name)[0]][location]
    by_layer = value.view(-1, 2, 2, 16)
    return {
        f"{module.format(layer)}.adapter.{kind}": by_layer[:, layer, index].clone()
        for layer in range(2)
        for index, kind in enumerate(("key", "value"))
    }


if __name__ == "__main__":
    main()
