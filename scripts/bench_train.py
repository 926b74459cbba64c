"""Time our training step against full fine-tuning, a hand-written adapter, `peft` and `adapters`.

    python scripts/bench_train.py [--task-path FOLDER] [--steps 20] [--minutes 5] [--quick]

Contestants with the same order of examples get the same batches, and run in turn: first in the
order of what matters most, then in a new random order each turn. A row is printed as soon as it is
measured. --minutes bounds the whole; contestants that are not reached are left out.

The seconds of a step are the seconds per true token times the number of tokens of a mean batch. The
peers are timed with the settings that their users have (random padded batches in fp32) and with the
best ones (length-grouped batches, bf16). They run in their own processes, because our process tells
the C library to keep freed memory, which would speed up the peers too. The package `adapters` needs
an older version of transformers: it is installed into its own environment in the cache folder. A
ceiling is the ratio that would result if our step consisted of its matrix products only. The
sentences are those of RTE below --task-path, or generated pairs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import hydra
import torch
from adapters_environment import adapters_python
from matrix_floor import floor_seconds
from peer_workers import RemotePeer, Worker
from rich.console import Console
from rich.table import Table
from train_peers import Peer, peak_mib
from turns import Budget, LeftOut, take_turns

from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.loading import Backbone, load_backbone
from sparsead.config.run import RunSpec
from sparsead.pruning.contract import PRUNERS
from sparsead.pruning.prune import prune
from sparsead.tasks.contract import TASKS
from sparsead.training.allocator import keep_freed_memory
from sparsead.training.device import resolve_device
from sparsead.training.emulation import fast_products
from sparsead.training.evaluation import count_tokens
from sparsead.training.precision import cast_frozen
from sparsead.training.quiet import quiet_libraries
from sparsead.training.sampling import SeededOrder
from sparsead.training.unpadded import unpad

DENSE = "sparsead Houlsby, dense"
LARGE_SPARSE = "sparsead Houlsby, r=256 at 75 %"
LARGE_UNITS = "sparsead Houlsby, r=256 at 75 % of its units"
_LARGE = ("adapter=houlsby", "sparsity=large_sparse", "sparsity.scale=4")
OURS = {
    "sparsead Houlsby": ("adapter=houlsby",),
    "sparsead LoRA": ("adapter=lora",),
    "sparsead MAM": ("adapter=mam",),
    DENSE: ("adapter=houlsby", "sparsity=dense"),
    LARGE_SPARSE: _LARGE,
    LARGE_UNITS: (*_LARGE, "pruner=units", "pruner.criterion=random"),
}
THERE = ("adapters Houlsby", "adapters LoRA", "adapters MAM")
WAYS = (("random", "fp32"), ("grouped", "fp32"), ("grouped", "bf16"))
PRINTED = ("rows", "ratios", "ceilings")
FULL = "full fine-tuning"
HERE = (FULL, "hand-written adapter", "peft LoRA")
EVERY_ADAPTER = ("houlsby", "pfeiffer", "parallel", "lora", "prefix", "mam", "bitfit", "head")
QUICK_MINUTES = 5
Key = tuple[str, str, str]
"""A contestant: its name, the order of its batches and its precision."""
REFERENCE: Key = (FULL, "random", "fp32")
OPPONENTS = {"sparsead Houlsby": "adapters Houlsby", "sparsead LoRA": "peft LoRA"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="minilm", help="a backbone of BERT's architecture")
    parser.add_argument(
        "--random-weights", action="store_true", help="use random weights and MiniLM's tokenizer"
    )
    parser.add_argument("--task-path", type=Path, default=None, help="GLUE folder, for RTE's text")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--dropout", type=float, default=None, help="in all contestants")
    parser.add_argument("--attention-dropout", type=float, default=None, help="in all contestants")
    parser.add_argument("--length", type=int, default=None, help="number of tokens of every text")
    parser.add_argument("--steps", type=int, default=20, help="timed batches of each contestant")
    parser.add_argument(
        "--minutes", type=float, default=None, help="stop after this time (5 with --quick)"
    )
    parser.add_argument("--quick", action="store_true", help="only Houlsby, 5 steps, no peaks")
    parser.add_argument(
        "--every-adapter",
        action="store_true",
        help="compare every adapter of ours with full fine-tuning only",
    )
    parser.add_argument(
        "--peaks",
        default=None,
        help="measure the peak memory of contestants with this in their name",
    )
    parser.add_argument("--without-adapters", action="store_true", help="leave `adapters` out")
    parser.add_argument(
        "--adapters-python",
        type=Path,
        default=None,
        help="an interpreter with `adapters` installed; by default one is set up",
    )
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    parser.add_argument("--peak", default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quiet_libraries()
    keep_freed_memory()
    bench = Bench(arguments)
    if arguments.peak is not None:
        sys.stdout.write(f"{bench.peak(arguments.peak)}\n")
        return
    report(bench.run(), arguments.json)


class OurPeer(Peer):
    """One of our adapters, whose steps are computed as in a run."""

    def loss(self, number: int) -> float:
        """Run one step on batch `number`, and return its loss."""
        with fast_products(self.precision, self.device):
            return super().loss(number)


class Bench:
    """All contestants on the same examples."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        quick = QUICK_MINUTES if arguments.quick else None
        self.budget = Budget(quick if arguments.minutes is None else arguments.minutes)
        self.steps = 5 if arguments.quick else arguments.steps
        self.ours = dict(list(OURS.items())[:1] if arguments.quick else OURS)
        self.peers = (*HERE, *(THERE[:1] if arguments.quick else THERE))
        if arguments.without_adapters:
            self.peers = HERE
        if arguments.every_adapter:
            self.ours = {f"sparsead {name}": (f"adapter={name}",) for name in EVERY_ADAPTER}
            self.peers = (FULL,)
        self.workers: dict[Path, Worker] = {}
        source = ["task=demo_mrpc"]
        if arguments.task_path is not None:
            source = ["task=rte", f"task.path={arguments.task_path}"]
        self.overrides = [f"backbone={arguments.backbone}", "pruner=random", *source]
        for name in ("dropout", "attention_dropout"):
            if getattr(arguments, name) is not None:
                self.overrides.append(f"backbone.{name}={getattr(arguments, name)}")
        spec = self._spec("adapter=houlsby")
        self.device = resolve_device(arguments.device)
        self.task = TASKS.bind(spec.task.method, spec.task.arguments())()
        tokens = ["backbone=minilm"] if arguments.random_weights else []
        self.backbone = load_backbone(self._spec(*tokens).backbone)
        if arguments.random_weights:
            self.backbone = Backbone(spec.backbone, None, self.backbone.tokenizer)
        rows = self.task.encode(self.task.load(), self.backbone.tokenizer)["train"]
        self.rows = self._batches(rows)
        self.mean_tokens = arguments.length or sum(count_tokens(rows)) / len(rows)
        self.setup = {
            "source": {
                "folder": str(self.backbone.folder) if self.backbone.folder else None,
                "architecture": dict(spec.backbone.architecture),
                "dropout": spec.backbone.dropout,
                "attention_dropout": spec.backbone.attention_dropout,
            },
            "rows": self.rows,
            "device": self.device,
            "threads": torch.get_num_threads(),
        }

    def run(self) -> dict[str, Any]:
        peers = {key: cache(partial(self._contestant, *key)) for key in self._contestants()}
        steps = {key: partial(self._timed, key, peer) for key, peer in peers.items()}
        seconds = take_turns(steps, self.steps, self.budget, self._print_row, _print_line)
        for worker in self.workers.values():
            worker.close()
        measured = [
            (name, "grouped", precision) for name in OPPONENTS for precision in ("fp32", "bf16")
        ]
        floors = {
            key: self._floor(peers[key]())
            for key in measured
            if key in seconds and not self.budget.spent
        }
        mean = self.mean_tokens * self.arguments.batch_size
        return {
            "backbone": self.arguments.backbone,
            "device": self.device,
            "threads": torch.get_num_threads(),
            "batch size": self.arguments.batch_size,
            "steps": min((len(times) for times in seconds.values()), default=0),
            "tokens a step": mean,
            "matrix products ÷ step": {
                f"{name} {precision}": floor for (name, _, precision), floor in floors.items()
            },
            "rows": [
                {
                    "contestant": name,
                    "batches": order,
                    "precision": precision,
                    "seconds a step": median(seconds[name, order, precision]) * mean,
                    "tokens a second": 1 / median(seconds[name, order, precision]),
                    "peak MiB": self._peak_alone(name, order, precision),
                }
                for name, order, precision in seconds
            ],
        }

    def _timed(self, key: Key, peer: Callable[[], Any], number: int) -> float:
        """Return the seconds per true token of one step."""
        batch = self.rows[key[1]][number]
        return float(peer().step(number)) / sum(len(row["input_ids"]) for row in batch)

    def _print_row(self, key: Key, seconds: dict[Key, list[float]]) -> None:
        taken = median(seconds[key]) * self.mean_tokens * self.arguments.batch_size
        line = f"{', '.join(key):<56} {taken:8.4f} s a step"
        if REFERENCE in seconds:
            line += f", {median(seconds[REFERENCE]) / median(seconds[key]):6.2f} × {FULL}"
        _print_line(line)

    def peak(self, contestant: str) -> float:
        """Return the peak memory of one contestant's process after three steps, in MiB."""
        name, order, precision = contestant.split("/")
        peer = self._contestant(name, order, precision)
        for number in range(3):
            peer.step(number)
        return (
            peak_mib(self.device) if name in self.ours else float(self._worker(name).ask(do="peak"))
        )

    def _spec(self, *more: str) -> RunSpec:
        with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
            return RunSpec.from_config(hydra.compose("train", [*self.overrides, *more]))

    def _batches(self, rows: Any) -> dict[str, list[list[dict[str, Any]]]]:
        """Return the first batches of an epoch, in length-grouped and in random order."""
        size = self.arguments.batch_size
        count = self.steps * size
        if count > len(rows):
            raise SystemExit(f"--steps {self.steps}: the data have {len(rows) // size} batches")
        grouped = list(SeededOrder(count_tokens(rows), size, seed=1))
        shuffled = random.Random(1).sample(range(len(rows)), len(rows))
        return {
            name: [
                [self._row(rows[index]) for index in order[start : start + size]]
                for start in range(0, count, size)
            ]
            for name, order in (("grouped", grouped), ("random", shuffled))
        }

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        length = self.arguments.length or len(row["input_ids"])
        ids = (row["input_ids"] * length)[:length]
        same = {"token_type_ids": [0] * length, "attention_mask": [1] * length}
        return same | {"input_ids": ids, "labels": row["labels"]}

    def _contestants(self) -> list[Key]:
        """Return all contestants: first the reference, then each of ours with its opponent."""
        names = [name for pair in OPPONENTS.items() for name in pair]
        names = [*dict.fromkeys((*names, *self.ours, *self.peers))]
        ours = [("grouped", "fp32"), ("grouped", "bf16")]
        keys = [
            (name, *way)
            for name in names
            if name in self.ours or name in self.peers
            for way in (ours if name in self.ours else WAYS)
        ]
        return [REFERENCE, *(key for key in keys if key != REFERENCE)]

    def _contestant(self, name: str, order: str, precision: str) -> Any:
        if name in self.ours:
            return self._ours(self.ours[name], precision)
        return RemotePeer(self._worker(name), name, order, precision)

    def _floor(self, peer: Peer) -> float:
        """Return the share of a step's time that its matrix products take, on one batch."""
        floor = floor_seconds(lambda: peer.step(0), self.device)
        return floor / float(median(peer.step(0) for _ in range(5)))

    def _ours(self, overrides: tuple[str, ...], precision: str) -> Peer:
        spec = self._spec(*overrides)
        model = self.backbone.model(self.task.head, self.task.head_options, spec.seed)
        adapted = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)().insert(model, 1)
        torch.nn.Module.to(model, self.device)
        collator = unpad(model, self.task.collator(self.backbone.tokenizer), precision)
        pruner = PRUNERS.bind(spec.pruner.method, spec.pruner.options)
        if adapted.prunable:  # bitfit and head have no prunable tensors
            prune(model, tensors=adapted.prunable, sparsity=spec.sparsity, pruner=pruner)
        cast_frozen(adapted, precision)
        batches = [collator([dict(row) for row in rows]) for rows in self.rows["grouped"]]
        return OurPeer(model, batches, precision, self.device)

    def _worker(self, contestant: str) -> Worker:
        python = Path(sys.executable)
        if contestant in THERE:
            python = self.arguments.adapters_python or self._adapters_python()
        if python not in self.workers:
            self.workers[python] = Worker(python, self.setup)
        return self.workers[python]

    def _adapters_python(self) -> Path:
        try:
            return adapters_python(self.budget.timeout)
        except subprocess.SubprocessError as error:
            raise LeftOut(f"its environment is not set up ({type(error).__name__})") from None

    def _peak_alone(self, *contestant: str) -> float | None:
        """Run one contestant in its own process, because the peak of a process never falls."""
        named = self.arguments.peaks is not None and self.arguments.peaks in contestant[0]
        if self.arguments.quick or self.budget.spent or not named:
            return None
        command = [sys.executable, *sys.argv, "--peak", "/".join(contestant)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout.splitlines()[-1])


def _print_line(line: str) -> None:
    print(line, flush=True)


def report(figures: dict[str, Any], json_file: Path | None) -> None:
    rows = figures["rows"]
    seconds = {(r["contestant"], r["batches"], r["precision"]): r["seconds a step"] for r in rows}
    figures["ratios"] = {
        f"{ours} {precision} over {theirs}, {order} {way}": seconds[theirs, order, way]
        / seconds[ours, "grouped", precision]
        for ours, theirs in OPPONENTS.items()
        for precision in ("fp32", "bf16")
        for order, way in WAYS
        if (ours, "grouped", precision) in seconds and (theirs, order, way) in seconds
    }
    figures["ceilings"] = {
        name: ratio / figures["matrix products ÷ step"][name.partition(" over ")[0]]
        for name, ratio in figures["ratios"].items()
        if name.partition(" over ")[0] in figures["matrix products ÷ step"]
    }
    figures["ratios"] |= {
        f"{name} ÷ {DENSE}, {precision}": larger / seconds[DENSE, "grouped", precision]
        for (name, _, precision), larger in seconds.items()
        if name in (LARGE_SPARSE, LARGE_UNITS) and (DENSE, "grouped", precision) in seconds
    }
    table = Table("", "batches", "precision", "s a step", "÷ full", "tokens/s", "peak MiB")
    full = seconds.get(REFERENCE)
    for row in rows:
        peak = "" if row["peak MiB"] is None else f"{row['peak MiB']:.0f}"
        taken, speed = row["seconds a step"], row["tokens a second"]
        share = "" if full is None else f"{taken / full:.3f}"
        table.add_row(
            *(row["contestant"], row["batches"], row["precision"]),
            *(f"{taken:.4f}", share, f"{speed:.0f}", peak),
        )
    console = Console()
    console.print(table)
    for name, ratio in figures["ratios"].items():
        ceiling = figures["ceilings"].get(name)
        within = "" if ceiling is None else f"  (ceiling {ceiling:.2f} ×)"
        console.print(f"{ratio:6.2f} ×  {name}{within}", highlight=False)
    console.print({key: value for key, value in figures.items() if key not in PRINTED})
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
