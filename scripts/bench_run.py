"""Time whole runs of MRPC, from the command to the record: ours, and those of `adapters`.

    python scripts/bench_run.py --task-path FOLDER [--seeds 5] [--best] [--limit 64]

Both train Houlsby adapters with the same protocol and dropout, and take turns after each seed. The
package `adapters` runs with its trainer's default settings, and with --best also with
length-grouped batches in bf16. The time to the first training step starts with the command; the
data has been tokenised before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from adapters_environment import adapters_python
from rich.console import Console
from rich.table import Table

from sparsead.backbones.loading import load_backbone
from sparsead.config.compose import compose
from sparsead.runs.record import read_records

GOAL_RATIO, GOAL_FIRST_STEP = 3, 12
SPLITS = ("train", "validation")
OURS, THEIRS, BEST = "sparsead", "adapters, random, fp32", "adapters, length-grouped, bf16"
PYTHON_HELP = "an interpreter with `adapters` installed; by default one is set up"

FIRST_STEP = """
import os, sys, time
import psutil
from sparsead.commands.train import main
from sparsead.training.trainer import SparseadTrainer
whole_step = SparseadTrainer.training_step
def first_step(*arguments):
    whole_step(*arguments)
    sys.stderr.write(str(time.time() - psutil.Process().create_time()))
    sys.stderr.flush()
    os._exit(0)
SparseadTrainer.training_step = first_step
main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task-path", type=Path, required=True, help="GLUE folder, for MRPC")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--dropout", type=float, default=None, help="the backbone's, in all runs")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--best", action="store_true", help="`adapters` at its best settings too")
    parser.add_argument("--limit", type=int, default=None, help="first examples of each split")
    parser.add_argument("--adapters-python", type=Path, default=None, help=PYTHON_HELP)
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    arguments = parser.parse_args()
    report(Bench(arguments).run(), arguments.json)


class Bench:
    """The runs of all seeds, each in its own process."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.overrides = [
            *(f"backbone={arguments.backbone}", "adapter=houlsby", "pruner=none", "sparsity=dense"),
            *("task=mrpc", f"task.path={arguments.task_path.resolve()}"),
            *(f"device={arguments.device}", f"protocol.epochs={arguments.epochs}"),
        ]
        self.runs: dict[str, Callable[[int, Path], float]] = {OURS: self._ours}
        if arguments.dropout is not None:
            self.overrides.append(f"backbone.dropout={arguments.dropout}")
        if arguments.limit is not None:
            self.overrides.append(f"task.limit={arguments.limit}")
        self.python = arguments.adapters_python or adapters_python()
        self.runs[THEIRS] = partial(self._theirs, best=False)
        if arguments.best:
            self.runs[BEST] = partial(self._theirs, best=True)

    def run(self) -> dict[str, Any]:
        first = {pruner: self._first_step(pruner) for pruner in ("random", "snip")}
        seconds: dict[str, list[float]] = {name: [] for name in self.runs}
        accuracy: dict[str, list[float]] = {name: [] for name in self.runs}
        for seed in range(1, self.arguments.seeds + 1):
            for name, run in self.runs.items():
                with tempfile.TemporaryDirectory() as folder:
                    start = time.perf_counter()
                    accuracy[name].append(run(seed, Path(folder)))
                    seconds[name].append(time.perf_counter() - start)
        return {
            "seconds": seconds,
            "accuracy": accuracy,
            "ratios": {name: mean(seconds[name]) / mean(seconds[OURS]) for name in self.runs},
            "first step": first,
            "overrides": self.overrides,
        }

    def _ours(self, seed: int, folder: Path) -> float:
        script = Path(sys.executable).with_name("sparsead")
        command = [str(script), "train", *self.overrides, f"seed={seed}", f"outputs={folder}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (record,) = read_records(folder)
        return record.main_score

    def _theirs(self, seed: int, folder: Path, best: bool) -> float:
        spec = compose(self.overrides)
        files = {split: str(Path(str(spec.task.path)) / spec.task.files[split]) for split in SPLITS}
        setup = {
            **files,
            "backbone": {
                "folder": str(load_backbone(spec.backbone).folder),
                "dropout": spec.backbone.dropout,
                "attention_dropout": spec.backbone.attention_dropout,
            },
            "bottleneck": spec.adapter.options["bottleneck"],
            "max_length": spec.task.max_length,
            "limit": spec.task.limit,
            "protocol": asdict(spec.protocol),
            "device": spec.device,
            "output": str(folder),
            "seed": seed,
            "grouped": best,
            "bf16": best,
        }
        script = Path(__file__).with_name("adapters_run.py")
        command = [str(self.python), str(script), json.dumps(setup)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return float(json.loads(done.stdout.splitlines()[-1])["accuracy"])

    def _first_step(self, pruner: str) -> float:
        """Return the seconds from the command to the end of the first training step.

        The command runs twice; the second time counts, when the data has been tokenised.
        """
        chosen = [f"pruner={pruner}", "sparsity=fixed"]
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder:
                command = [*self.overrides, *chosen, f"outputs={folder}"]
                done = subprocess.run(
                    [sys.executable, "-c", FIRST_STEP, *command],
                    check=True,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
        return float(done.stderr.splitlines()[-1])


def report(figures: dict[str, Any], json_file: Path | None) -> None:
    table = Table("", "seconds", "÷ ours", "accuracy", "deviation")
    for name, seconds in figures["seconds"].items():
        scores = figures["accuracy"][name]
        deviation = f"{stdev(scores):.4f}" if len(scores) > 1 else ""
        ratio = f"{figures['ratios'][name]:.2f}"
        table.add_row(name, f"{mean(seconds):.1f}", ratio, f"{mean(scores):.4f}", deviation)
    console = Console()
    console.print(table)
    console.print(f"goal: `adapters` ÷ ours ≥ {GOAL_RATIO}", highlight=False)
    for pruner, seconds in figures["first step"].items():
        line = f"first step after {seconds:.1f} s with pruner={pruner}, goal ≤ {GOAL_FIRST_STEP}"
        console.print(line, highlight=False)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
