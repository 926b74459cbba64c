"""The training step of each contestant of bench_train.py; this file runs in both environments.

As a program it is a worker: it reads requests, one JSON object per line, from its standard input
and answers each with one line. Thus packages of different environments can be timed in turn.
"""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Peer:
    """A model, its optimiser and its batches, one for each step."""

    def __init__(self, model: Any, batches: list[Any], precision: str, device: str) -> None:
        self.model = model.to(device).train()
        self.batches = batches
        self.precision = precision
        self.device = device
        self.optimizer = torch.optim.AdamW(
            [parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-4
        )

    def step(self, number: int) -> float:
        """Run one step on batch `number`, and return its seconds, including reading the loss."""
        self._synchronise()
        start = time.perf_counter()
        self.loss(number)
        self._synchronise()
        return time.perf_counter() - start

    def loss(self, number: int) -> float:
        """Run one step on batch `number`, and return its loss."""
        batch = self.batches[number % len(self.batches)]
        batch = {name: value.to(self.device) for name, value in batch.items()}
        bf16 = torch.autocast(self.device, torch.bfloat16)
        with bf16 if self.precision == "bf16" else nullcontext():
            loss = self.model(**batch).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.item())

    def _synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def padded(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Pad a batch of token ids to its longest row, as DataCollatorWithPadding does."""
    longest = max(len(row["input_ids"]) for row in rows)
    batch = {
        name: torch.tensor([row[name] + [0] * (longest - len(row[name])) for row in rows])
        for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    return batch | {"labels": torch.tensor([row["labels"] for row in rows])}


def plain_model(source: dict[str, Any]) -> Any:
    """Return BERT with a classification head, from a folder or with random weights."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    both = {"hidden_dropout_prob": source["dropout"], _ATTENTION: source["dropout"]}
    chosen = (
        both
        if source["attention_dropout"] is None
        else both | {_ATTENTION: source["attention_dropout"]}
    )
    dropout = {name: value for name, value in chosen.items() if value is not None}
    if source["folder"] is not None:
        config = AutoConfig.from_pretrained(source["folder"], num_labels=2, **dropout)
        return AutoModelForSequenceClassification.from_pretrained(
            source["folder"], config=config, torch_dtype=torch.float32
        )
    arguments = dict(source["architecture"])
    config = AutoConfig.for_model(arguments.pop("model_type"), **arguments, **dropout)
    return AutoModelForSequenceClassification.from_config(config)


_ATTENTION = "attention_probs_dropout_prob"


def full(model: Any) -> Any:
    return model


def handwritten(model: Any) -> Any:
    """Add a bottleneck after the dense layer of both sublayers, as plain PyTorch code does it."""
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)
    for layer in model.base_model.encoder.layer:
        for output in (layer.attention.output, layer.output):
            output.dense = nn.Sequential(output.dense, _Bottleneck(model.config.hidden_size, 64))
    return model


class _Bottleneck(nn.Module):
    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.up(torch.relu(self.down(x)))
        return x + change


def peft_lora(model: Any) -> Any:
    import peft

    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"]
    )
    return peft.get_peft_model(model, config)


def adapters_of(config: str) -> Any:
    """Return a function that inserts adapters of the same size as ours, for any width."""

    def build(model: Any) -> Any:
        adapters: Any = import_module("adapters")  # installed only in its own environment
        adapters.init(model)
        width = model.config.hidden_size
        model.add_adapter("bench", config=config.format(houlsby=width / 64, mam=width / 32))
        model.train_adapter("bench")
        model.set_active_adapters("bench")
        return model

    return build


BUILDERS = {
    "full fine-tuning": full,
    "hand-written adapter": handwritten,
    "peft LoRA": peft_lora,
    "adapters Houlsby": adapters_of("double_seq_bn[reduction_factor={houlsby}]"),
    "adapters LoRA": adapters_of("lora"),
    "adapters MAM": adapters_of(
        "prefix_tuning[prefix_length=32,bottleneck_size=800]|par_bn[reduction_factor={mam}]"
    ),
}


def build_peer(name: str, setup: dict[str, Any], order: str, precision: str) -> Peer:
    """Return a contestant.

    Args:
        name: a key of BUILDERS.
        setup: source of the model, device, and lists of encoded rows by order.
        order: "random" or "grouped".
        precision: "fp32" or "bf16".
    """
    batches = [padded(rows) for rows in setup["rows"][order]]
    return Peer(BUILDERS[name](plain_model(setup["source"])), batches, precision, setup["device"])


def peak_mib(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    # ru_maxrss would include the parent process, from which Linux inherits it.
    status = Path("/proc/self/status").read_text("utf-8")
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(peak) / 2**10


def work() -> None:
    """Answer the requests "build" with null, "step" with seconds and "peak" with MiB."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not be an answer
    setup = json.loads(sys.stdin.readline())
    torch.set_num_threads(setup["threads"])
    peers: dict[str, Peer] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer: float | None = None
        if request["do"] == "build":
            key, name, order, precision = request["arguments"]
            peers[key] = build_peer(name, setup, order, precision)
        elif request["do"] == "step":
            answer = peers[request["key"]].step(request["number"])
        else:
            answer = peak_mib(setup["device"])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    work()
