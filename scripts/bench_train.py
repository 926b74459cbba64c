"""A training step of ours against full fine-tuning, a hand-written adapter, peft and adapters.

    python scripts/bench_train.py [--backbone minilm] [--task-path FOLDER] [--steps 20] [--quick]

All contestants are given the same examples, in the same shuffled turns. The peers are timed as
their users run them (random batches, padded, fp32) and at their best (length-grouped; bf16).
`adapters` needs an older transformers: it is installed into an environment of its own in the cache
folder, and asked there for one step at a time. Sentences come from RTE below --task-path, or from
the generated pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import venv
from pathlib import Path
from statistics import median
from typing import Any

import hydra
import torch
from rich.console import Console
from rich.table import Table
from train_peers import Peer, build_peer, peak_mib

from sparsead.backbones.loading import Backbone, load_backbone
from sparsead.config import RunSpec
from sparsead.pruning.prune import prune
from sparsead.registry import ADAPTERS, TASKS
from sparsead.training.allocator import keep_freed_memory
from sparsead.training.device import resolve_device
from sparsead.training.precision import store_frozen
from sparsead.training.quiet import quiet_libraries
from sparsead.training.sampling import SeededOrder
from sparsead.training.unpadded import unpad

OURS = {"sparsead Houlsby": "houlsby", "sparsead LoRA": "lora", "sparsead MAM": "mam"}
HERE = ("full fine-tuning", "hand-written adapter", "peft LoRA")
THERE = ("adapters Houlsby", "adapters LoRA", "adapters MAM")
WAYS = (("random", "fp32"), ("grouped", "fp32"), ("grouped", "bf16"))
OPPONENTS = {"sparsead Houlsby": "adapters Houlsby", "sparsead LoRA": "peft LoRA"}
REQUIREMENTS = ("adapters==1.3.0", "transformers~=4.57.6")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="minilm", help="of BERT's architecture")
    parser.add_argument(
        "--random-weights", action="store_true", help="no weights are read; MiniLM's tokens"
    )
    parser.add_argument("--task-path", type=Path, default=None, help="GLUE folder, for RTE's text")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--dropout", type=float, default=None, help="in all contestants")
    parser.add_argument("--steps", type=int, default=20, help="timed batches of each contestant")
    parser.add_argument("--quick", action="store_true", help="Houlsby alone, 5 steps, no peaks")
    parser.add_argument("--without-adapters", action="store_true", help="leave `adapters` out")
    parser.add_argument("--adapters-python", type=Path, default=None, help="has `adapters` already")
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


class Worker:
    """The contestants of another environment: a process that is asked for one step at a time."""

    def __init__(self, python: Path, setup: dict[str, Any]) -> None:
        script = Path(__file__).with_name("train_peers.py")
        self._process = subprocess.Popen(
            [python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._send(setup)

    def ask(self, **request: Any) -> Any:
        self._send(request)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the worker with `adapters` has ended; its error is above")
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()


class RemotePeer:
    """A contestant in a worker, with the step of a Peer."""

    def __init__(self, worker: Worker, name: str, order: str, precision: str) -> None:
        self._worker = worker
        self._key = f"{name}/{order}/{precision}"
        worker.ask(do="build", arguments=[self._key, name, order, precision])

    def step(self, number: int) -> float:
        return float(self._worker.ask(do="step", key=self._key, number=number))


class Bench:
    """All contestants on the same examples."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.steps = 5 if arguments.quick else arguments.steps
        source = ["task=demo_mrpc"]
        if arguments.task_path is not None:
            source = ["task=rte", f"task.path={arguments.task_path}"]
        self.overrides = [f"backbone={arguments.backbone}", *source]
        if arguments.dropout is not None:
            self.overrides.append(f"backbone.dropout={arguments.dropout}")
        spec = self._spec("houlsby")
        self.device = resolve_device(arguments.device)
        self.task = TASKS.bind(spec.task.method, spec.task.arguments())()
        tokens = ["backbone=minilm"] if arguments.random_weights else []
        self.backbone = load_backbone(self._spec("houlsby", *tokens).backbone)
        if arguments.random_weights:
            self.backbone = Backbone(spec.backbone, None, self.backbone.tokenizer)
        rows = self.task.encode(self.task.load(), self.backbone.tokenizer)["train"]
        self.rows = self._batches(rows)
        self.setup = {
            "source": {
                "folder": str(self.backbone.folder) if self.backbone.folder else None,
                "architecture": dict(spec.backbone.architecture),
                "dropout": spec.backbone.dropout,
            },
            "rows": self.rows,
            "device": self.device,
            "threads": torch.get_num_threads(),
        }

    def run(self) -> dict[str, Any]:
        worker = self._worker()
        contestants = self._contestants(worker)
        tokens = {
            order: [sum(len(row["input_ids"]) for row in batch) for batch in batches]
            for order, batches in self.rows.items()
        }
        seconds: dict[tuple[str, str, str], list[float]] = {key: [] for key in contestants}
        turns = random.Random(0)
        for number in range(-1, self.steps):  # the first turn warms up
            for key in turns.sample(list(contestants), len(contestants)):
                taken = contestants[key].step(number % self.steps)
                if number >= 0:
                    seconds[key].append(taken / tokens[key[1]][number])
        if worker is not None:
            worker.close()
        mean = sum(tokens["grouped"]) / self.steps
        return {
            "backbone": self.arguments.backbone,
            "device": self.device,
            "threads": torch.get_num_threads(),
            "batch size": self.arguments.batch_size,
            "steps": self.steps,
            "tokens a step": mean,
            "rows": [
                {
                    "contestant": name,
                    "batches": order,
                    "precision": precision,
                    "seconds a step": median(seconds[name, order, precision]) * mean,
                    "tokens a second": 1 / median(seconds[name, order, precision]),
                    "peak MiB": self._peak_alone(name, order, precision),
                }
                for name, order, precision in contestants
            ],
        }

    def peak(self, contestant: str) -> float:
        """Return the MiB at most of this process after three steps of one contestant."""
        name, order, precision = contestant.split("/")
        peer: Any
        if name in THERE:
            worker = self._worker()
            assert worker is not None
            peer = RemotePeer(worker, name, order, precision)
        else:
            peer = self._here(name, order, precision)
        for number in range(3):
            peer.step(number)
        return float(worker.ask(do="peak")) if name in THERE else peak_mib(self.device)

    def _spec(self, adapter: str, *more: str) -> RunSpec:
        with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
            overrides = [*self.overrides, f"adapter={adapter}", *more]
            return RunSpec.from_config(hydra.compose("train", overrides))

    def _batches(self, rows: Any) -> dict[str, list[list[dict[str, Any]]]]:
        """Return the same examples in length-grouped and in random batches."""
        size = self.arguments.batch_size
        order = SeededOrder([len(ids) for ids in rows["input_ids"]], size, seed=1)
        count = self.steps * size
        grouped = [self._row(rows[index]) for index in list(order)[:count]]
        shuffled = random.Random(1).sample(grouped, len(grouped))
        return {
            name: [listed[start : start + size] for start in range(0, count, size)]
            for name, listed in (("grouped", grouped), ("random", shuffled))
        }

    @staticmethod
    def _row(row: dict[str, Any]) -> dict[str, Any]:
        length = len(row["input_ids"])
        return {"token_type_ids": [0] * length, "attention_mask": [1] * length} | row

    def _contestants(self, worker: Worker | None) -> dict[tuple[str, str, str], Any]:
        ours = list(OURS)[:1] if self.arguments.quick else list(OURS)
        there = THERE[:1] if self.arguments.quick else THERE
        contestants: dict[tuple[str, str, str], Any] = {}
        for name in ours:
            for precision in ("fp32", "bf16"):
                key = (name, "grouped", precision)
                contestants[key] = self._here(*key)
        for name in HERE:
            for order, precision in WAYS:
                contestants[name, order, precision] = self._here(name, order, precision)
        for name in there if worker is not None else ():
            for order, precision in WAYS:
                peer = RemotePeer(worker, name, order, precision)
                contestants[name, order, precision] = peer
        return contestants

    def _here(self, name: str, order: str, precision: str) -> Peer:
        if name in OURS:
            return self._ours(OURS[name], precision)
        return build_peer(name, self.setup, order, precision)

    def _ours(self, adapter: str, precision: str) -> Peer:
        spec = self._spec(adapter)
        model = self.backbone.model(self.task.head, self.task.head_options, spec.seed)
        adapted = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)().insert(model, 1)
        model.to(self.device)
        collator = unpad(model, self.task.collator(self.backbone.tokenizer), precision)
        prune(model, tensors=adapted.prunable, sparsity=0.4, pruner="random")
        store_frozen(adapted, precision)
        batches = [collator([dict(row) for row in rows]) for rows in self.rows["grouped"]]
        return Peer(model, batches, precision, self.device)

    def _worker(self) -> Worker | None:
        if self.arguments.without_adapters:
            return None
        python = self.arguments.adapters_python or adapters_environment()
        return Worker(python, self.setup)

    def _peak_alone(self, *contestant: str) -> float | None:
        """Run one contestant in a process of its own: a process's peak never falls."""
        if self.arguments.quick:
            return None
        command = [sys.executable, *sys.argv, "--peak", "/".join(contestant)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout.splitlines()[-1])


def adapters_environment() -> Path:
    """Return the interpreter of an environment that has `adapters`, made where there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "sparsead" / "bench-adapters"
    python, ready = folder / "bin" / "python", folder / ".installed"
    if not ready.is_file():
        venv.create(folder, with_pip=True, clear=True)
        same_torch = f"torch=={torch.__version__.partition('+')[0]}"
        pip = [python, "-m", "pip", "install", "--quiet", *REQUIREMENTS, same_torch]
        subprocess.run(pip, check=True)
        ready.touch()
    return python


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
    table = Table("", "batches", "precision", "s a step", "÷ full", "tokens/s", "peak MiB")
    full = seconds["full fine-tuning", "random", "fp32"]
    for row in rows:
        peak = "" if row["peak MiB"] is None else f"{row['peak MiB']:.0f}"
        taken, speed = row["seconds a step"], row["tokens a second"]
        table.add_row(
            *(row["contestant"], row["batches"], row["precision"]),
            *(f"{taken:.4f}", f"{taken / full:.3f}", f"{speed:.0f}", peak),
        )
    console = Console()
    console.print(table)
    for name, ratio in figures["ratios"].items():
        console.print(f"{ratio:6.2f} ×  {name}", highlight=False)
    console.print({key: value for key, value in figures.items() if key not in ("rows", "ratios")})
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
