"""Measure the cost of pruning: scores against a training step, a masked step against a dense one.

    python scripts/bench_pruning.py [--task-path FOLDER] [--repeats 15] [--minutes 5]

The contestants run in turn in one process, in a new random order each turn, and each row is printed
as soon as it is measured; --minutes bounds the whole. A ratio is the median of the ratios within a
turn, so that it does not depend on changes of the machine's speed. The peak memory is that of a
process that runs one contestant only (on Linux). Batches are unpadded, as in a run. The sentences
are those of RTE below --task-path, or generated pairs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import hydra
import torch
from rich.console import Console
from rich.table import Table
from turns import Budget, take_turns

from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.loading import load_backbone
from sparsead.config.run import RunSpec
from sparsead.pruning.contract import PRUNERS, Scoring
from sparsead.pruning.prune import prune
from sparsead.pruning.scoring import undisturbed
from sparsead.tasks.contract import TASKS
from sparsead.training.allocator import keep_freed_memory
from sparsead.training.device import peak_memory, reset_peak_memory, resolve_device
from sparsead.training.quiet import quiet_libraries
from sparsead.training.sampling import scoring_batches
from sparsead.training.unpadded import unpad

DENSE = "dense step"
GOALS = {"snip": 1.0, "grasp": 2.3, "masked step": 1.01}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--task-path", type=Path, default=None, help="GLUE folder, for RTE's text")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--minutes", type=float, default=None, help="stop after this time")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    parser.add_argument("--peak", default=None, help="print one contestant's peak MiB and stop")
    arguments = parser.parse_args()
    quiet_libraries()
    keep_freed_memory()
    bench = Bench(arguments.backbone, arguments.task_path)
    if arguments.peak is not None:
        sys.stdout.write(f"{bench.peak(arguments.peak)}\n")
        return
    budget = Budget(arguments.minutes)
    figures = bench.run(arguments.repeats, budget)
    figures["peak MiB"] = {
        name: peak_alone(name) for name in figures["seconds"] if not budget.spent
    }
    report(figures, arguments.json)


def peak_alone(contestant: str) -> float:
    """Run one contestant in its own process, because the peak memory of a process never falls."""
    command = [sys.executable, *sys.argv, "--peak", contestant]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


class Bench:
    """Contestants with the same model and batch: a dense step, a masked step and pruning scores."""

    def __init__(self, backbone: str, task_path: Path | None) -> None:
        source = ["task=demo_mrpc"]
        if task_path is not None:
            source = ["task=rte", f"task.path={task_path}"]
        with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
            config = hydra.compose("train", [f"backbone={backbone}", "task.limit=64", *source])
        spec = RunSpec.from_config(config)
        self.device = resolve_device(spec.device)
        task = TASKS.bind(spec.task.method, spec.task.arguments())()
        loaded = load_backbone(spec.backbone)
        data = task.encode(task.load(), loaded.tokenizer)["train"].select(range(32))
        self.tokens = sum(len(ids) for ids in data["input_ids"])
        self.build = partial(self._model, spec, loaded, task, data)
        self.makers: dict[str, Callable[[], Callable[[], None]]] = {
            DENSE: self._dense_step,
            "masked step": self._masked_step,
            "snip": partial(self._scores, "snip"),
            "grasp": partial(self._scores, "grasp"),
        }

    def run(self, repeats: int, budget: Budget) -> dict[str, Any]:
        contestants = {name: cache(make) for name, make in self.makers.items()}
        timed = {name: partial(self._timed, made) for name, made in contestants.items()}
        times = take_turns(timed, repeats, budget, print_row, print_line)
        return {
            "device": self.device,
            "threads": torch.get_num_threads(),
            "tokens": self.tokens,
            "repeats": repeats,
            "seconds": {name: median(values) for name, values in times.items()},
            "ratios": {
                name: median(a / b for a, b in zip(values, times[DENSE], strict=False))
                for name, values in times.items()
            },
        }

    def peak(self, contestant: str) -> float:
        """Return the peak memory of one contestant in its second turn, in MiB."""
        turn = self.makers[contestant]()
        turn()
        reset_peak_memory(self.device)
        turn()
        return peak_memory(self.device) / 2**20

    def _model(self, spec: RunSpec, loaded: Any, task: Any, data: Any) -> tuple[Any, Any, Any]:
        """Return a model, the names of its prunable tensors, and a batch as in a run."""
        model = loaded.model(task.head, task.head_options, spec.seed)
        adapted = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)().insert(model, 1)
        torch.nn.Module.to(model, self.device).train()
        collator = unpad(model, task.collator(loaded.tokenizer), "fp32")
        (batch,) = scoring_batches(data, collator, model)
        return model, adapted.prunable, batch

    def _dense_step(self) -> Callable[[], None]:
        model, _, batch = self.build()
        return self._step(model, batch)

    def _masked_step(self) -> Callable[[], None]:
        model, prunable, batch = self.build()
        prune(model, tensors=prunable, sparsity=0.4, pruner="random")
        return self._step(model, batch)

    def _step(self, model: Any, batch: Any) -> Callable[[], None]:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.1)

        def step() -> None:
            optimizer.zero_grad()
            model(**batch).loss.backward()
            optimizer.step()

        return step

    def _scores(self, name: str) -> Callable[[], None]:
        """Return a function that scores one batch, without choosing the weights to remove."""
        model, prunable, batch = self.build()
        tensors = {name: model.get_parameter(name) for name in prunable}
        score = PRUNERS.bind(name, {})

        def loss(model: Any, batch: Any) -> Any:
            return model(**batch).loss

        def scoring() -> None:
            with undisturbed(model, tensors):
                score(Scoring(model, tensors, [batch], loss, 0.4, 1))

        return scoring

    def _timed(self, make: Callable[[], Callable[[], None]], _turn: int) -> float:
        contestant = make()
        self._synchronise()
        start = time.perf_counter()
        contestant()
        self._synchronise()
        return time.perf_counter() - start

    def _synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def print_row(name: str, times: dict[str, list[float]]) -> None:
    ratio = times[name][-1] / times[DENSE][-1]
    print_line(f"{name:<12} {times[name][-1]:8.3f} s, {ratio:6.3f} of a dense step")


def print_line(line: str) -> None:
    print(line, flush=True)


def report(figures: dict[str, Any], json_file: Path | None) -> None:
    table = Table("", "seconds", "ratio to dense step", "goal", "peak MiB")
    for name, seconds in figures["seconds"].items():
        goal = f"≤ {GOALS[name]}" if name in GOALS else ""
        ratio, peak = figures["ratios"][name], figures["peak MiB"].get(name)
        memory = "" if peak is None else f"{peak:.0f}"
        table.add_row(name, f"{seconds:.3f}", f"{ratio:.3f}", goal, memory)
    console = Console()
    console.print(table)
    console.print({key: figures[key] for key in ("device", "threads", "tokens", "repeats")})
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
