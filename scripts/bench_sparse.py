"""Time a step of adapter=sparse against LoRA and full fine-tuning, and measure their memory.

    python scripts/bench_sparse.py [--backbone minilm] [--steps 10] [--batch 16] [--length 64] \
        [--precision fp32]

All contestants take a step in turn, on the same batch of random tokens without padding, on one
thread; a row has the median of the processor's seconds. The peak of the memory is that of a process
of its own, which loads the backbone, inserts the adapter and takes two steps. Sparse trains random
weights, or with --choose those that SNIP scores highest, whose scoring is then in the peak.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from time import process_time
from typing import Any

import torch
from train_peers import peak_mib
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from sparsead.adapters.chosen import train_chosen
from sparsead.adapters.contract import ADAPTERS
from sparsead.assembly.build import prune_adapter
from sparsead.backbones.loading import load_backbone
from sparsead.config.compose import compose
from sparsead.config.run import RunSpec
from sparsead.pruning.contract import PRUNERS
from sparsead.training.inference import autocast
from sparsead.training.precision import cast_frozen
from sparsead.training.quiet import quiet_libraries

SITES = "[query,key,value,attention_projection,ffn_input,ffn_projection]"
CONTESTANTS: dict[str, tuple[str, ...]] = {
    "lora, r=8, query and value": ("adapter=lora", "pruner=none"),
    "sparse, query and value": (
        *("adapter=sparse", "adapter.budget=lora:8", "sparsity=dense"),
        "adapter.sites=[query,value]",
    ),
    "sparse, budget lora:8": ("adapter=sparse", "adapter.budget=lora:8", "sparsity=dense"),
    "lora, r=14, all linear layers": (
        *("adapter=lora", "adapter.bottleneck=14", f"adapter.sites={SITES}", "pruner=none"),
    ),
    "sparse, budget houlsby:64": ("adapter=sparse", "sparsity=dense"),
    "full fine-tuning": ("adapter=full",),
}


def main() -> None:
    """Print a row for each contestant."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--choose", action="store_true", help="let SNIP choose the weights")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    if options.peak:
        take = step_of(options.peak, options)
        take(), take()
        print(round(peak_mib("cpu")))
        return
    steps = {name: step_of(name, options) for name in CONTESTANTS}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.steps):
        for name, take in steps.items():
            start = process_time()
            take()
            seconds[name].append(process_time() - start)
    base = peak("", options)
    print(f"an idle process has {base} MiB")
    for name, taken in seconds.items():
        mib = peak(name, options)
        print(f"{name:32} {1e3 * median(taken[1:]):8.1f} ms   {mib} MiB, {mib - base} above idle")


def step_of(name: str, options: argparse.Namespace) -> Callable[[], None]:
    """Return a function that takes one training step of a contestant; "" gives an empty one."""
    overrides = CONTESTANTS.get(name)
    if overrides is None:
        return lambda: None
    pruner = "snip" if options.choose else "random"
    words = [*overrides, f"backbone={options.backbone}", "protocol=default"]
    chosen = [f"pruner={pruner}"] if overrides[0] == "adapter=sparse" else []
    spec = compose([*words, *chosen])
    batch = random_batch(options)
    model, trained = assemble(spec, batch, options.precision)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    print(f"{name}: {trained:,} weights of the backbone or the adapter train", file=sys.stderr)

    def take() -> None:
        with autocast(model, options.precision):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return take


def assemble(spec: RunSpec, batch: dict[str, Any], precision: str) -> tuple[PreTrainedModel, int]:
    """Return the model to train, and how many weights of its adapter train."""
    head = {"num_labels": 2}
    model = load_backbone(spec.backbone).model(AutoModelForSequenceClassification, head, seed=1)
    adapted = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)().insert(model, 1)
    if adapted.budget is not None:
        pruner = PRUNERS.bind(spec.pruner.method, spec.pruner.options)
        adapted = train_chosen(adapted, prune_adapter(spec, pruner, adapted, [batch]))
    cast_frozen(adapted, precision)
    model.train()
    return model, sum(model.get_parameter(name).numel() for name in adapted.adapter)


def random_batch(options: argparse.Namespace) -> dict[str, Any]:
    """Return labelled sequences of random tokens, all of one length."""
    draws = torch.Generator().manual_seed(0)
    shape = (options.batch, options.length)
    tokens = torch.randint(1000, 20000, shape, generator=draws)
    return {"input_ids": tokens, "labels": torch.arange(options.batch) % 2}


def peak(name: str, options: argparse.Namespace) -> int:
    """Return the peak of the memory in MiB of a process that trains one contestant."""
    own = [
        f"--{key}={getattr(options, key)}" for key in ("backbone", "batch", "length", "precision")
    ]
    command = [sys.executable, __file__, *own, f"--peak={name or 'nothing'}"]
    if options.choose:
        command.append("--choose")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
