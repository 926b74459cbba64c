"""Measure precision, CUDA graphs and several jobs on one GPU within a time limit.

    python scripts/bench_gpu.py [--task-path FOLDER] [--minutes 25] --json FILE
    python scripts/bench_gpu.py --tiny --device cpu        # a dry run in seconds

1. Which precision a real training step is faster in, and which one precision=auto chooses.
2. Latency: an epoch of steps as they are, and as CUDA graphs of forward and backward pass, one for
   each rounded shape, warm-up and capture included; the losses of both must agree.
3. Throughput: cells an hour of RTE and MRPC with 1, 4, 8 and 16 jobs on one GPU, also under CUDA's
   multi-process service where it may be started.

Every figure is printed and written to --json as soon as it is measured. What is not reached in time
is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from bench_sweep import sweep
from graphed_steps import GraphedSteps
from train_peers import Peer
from turns import Budget

from sparsead.adapters.contract import ADAPTERS
from sparsead.assembly.inputs import read_inputs
from sparsead.config.compose import compose
from sparsead.training.device import describe_device, resolve_device
from sparsead.training.evaluation import count_tokens
from sparsead.training.precision import cast_frozen, resolve_precision
from sparsead.training.quiet import quiet_libraries
from sparsead.training.sampling import SeededOrder
from sparsead.training.unpadded import unpad

JOBS = (1, 4, 8, 16)
ROUNDED = (64, 256, 512)
"""Multiples to which the number of tokens of a batch is rounded up, for a graph of each shape."""
PRECISIONS = ("fp32", "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="bert-base", help="with random weights")
    parser.add_argument("--task-path", type=Path, default=None, help="GLUE folder; else generated")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--without-jobs", action="store_true", help="leave the throughput out")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, few texts, two jobs")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    quiet_libraries()
    Bench(parser.parse_args()).run()


class Bench:
    """All measurements, in the order of their importance."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.budget = Budget(arguments.minutes)
        self.device = resolve_device(arguments.device)
        self.figures: dict[str, Any] = {}
        backbone = "tiny-bert" if arguments.tiny else arguments.backbone
        self.overrides = [f"backbone={backbone}", f"device={self.device}"]
        if not arguments.tiny:  # the weights do not matter for times, and need no network
            self.overrides += ["backbone.hub=null", "backbone.package=null", "task.max_length=128"]
        self.overrides += ["backbone.dropout=0", "task.limit=24"] if arguments.tiny else []

    def run(self) -> None:
        self.note("device", describe_device(self.device))
        self.note("versions", {"torch": torch.__version__, "python": platform.python_version()})
        parts = [self.precisions, self.graphs, self.throughput]
        for part in parts[:2] if self.arguments.without_jobs else parts:
            if self.budget.spent:
                print(f"the time is up after {self.budget}, without {part.__name__}", flush=True)
                break
            part()
        print(f"done after {self.budget}", flush=True)

    def note(self, name: str, value: Any) -> None:
        """Print a figure, and write all figures so far."""
        print(f"{name}: {value}", flush=True)
        self.figures[name] = value
        if self.arguments.json is not None:
            self.arguments.json.write_text(json.dumps(self.figures, indent=2) + "\n", "utf-8")

    def precisions(self) -> None:
        """Time a real step in both precisions, in turn, and compare with what auto chooses."""
        peers = {precision: self._peer("rte", precision)[0] for precision in PRECISIONS}
        times: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        for turn in range(2 if self.arguments.tiny else 20):
            for precision, peer in peers.items():
                taken = peer.step(turn)
                if turn:  # the first step warms up
                    times[precision].append(taken)
        self.note("seconds a step", {name: median(each) for name, each in times.items()})
        self.note("precision=auto", resolve_precision("auto", self.device))

    def graphs(self) -> None:
        """Time an epoch of steps as they are and as CUDA graphs, for each rounding."""
        for precision in PRECISIONS:
            self._peer("rte", precision, dropout=0.0)[0].loss(0)  # warms up
            plain, losses = self._epoch(*self._peer("rte", precision, dropout=0.0))
            self.note(f"RTE, {precision}, an epoch as it is", plain)
            for rounded in ROUNDED[:1] if self.arguments.tiny else ROUNDED:
                if self.budget.spent:
                    return
                model, padded, packing, rows = self._rows("rte", precision)
                steps = GraphedSteps(model, padded, packing, rows, rounded, precision)
                start = time.perf_counter()
                graphed = [steps.step(rows) for rows in steps.rows]
                self._synchronise()
                seconds = time.perf_counter() - start
                difference = max(abs(a - b) for a, b in zip(losses, graphed, strict=True))
                self.note(
                    f"RTE, {precision}, an epoch of graphs, rounded to {rounded} tokens",
                    {
                        "seconds": seconds,
                        "÷ as it is": seconds / plain,
                        "shapes": steps.shapes,
                        "steps": len(graphed),
                        "greatest difference of a loss": difference,
                        "graphs": steps.captures,
                    },
                )

    def throughput(self) -> None:
        """Count cells an hour by number of jobs, without and with the multi-process service."""
        numbers = (1, 2) if self.arguments.tiny else JOBS
        for served in (False, True):
            with tempfile.TemporaryDirectory() as folder, serving(Path(folder), served) as works:
                if served and not works:
                    self.note("multi-process service", "cannot be started here")
                    return
                settings = product(("rte", "mrpc"), numbers)
                if not all(self._count_cells(*setting, served) for setting in settings):
                    return

    def _count_cells(self, task: str, jobs: int, served: bool) -> bool:
        """Note the cells an hour of so many jobs; return False if the time is up."""
        seeds = ",".join(str(seed + 1) for seed in range(max(2, jobs)))
        words = [*self.overrides, *self._source(task), "pruner=snip", f"seed={seeds}"]
        words += ["protocol.epochs=1", *([f"jobs_per_gpu={jobs}"] if jobs > 1 else [])]
        try:
            done = sweep(words, self.budget)
        except subprocess.TimeoutExpired:
            print(f"the time is up after {self.budget}", flush=True)
            return False
        beside = ", multi-process service" if served else ""
        name = f"cells an hour, {task}, {jobs} jobs{beside}"
        self.note(name, round(3600 * done["cells"] / done["wall"], 1))
        return True

    def _source(self, task: str) -> list[str]:
        if self.arguments.task_path is None:
            return [f"task=demo_{task}"]
        return [f"task={task}", f"task.path={self.arguments.task_path.resolve()}"]

    def _rows(self, task: str, precision: str, dropout: float | None = None) -> Any:
        """Return a model in training with its adapter, its collator and the rows of each batch."""
        chosen = [] if dropout is None else [f"backbone.dropout={dropout}"]
        spec = compose([*self.overrides, *self._source(task), *(chosen or ["backbone.dropout=0"])])
        inputs = read_inputs(spec)
        model = inputs.backbone.model(inputs.task.head, inputs.task.head_options, 1)
        adapted = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)().insert(model, 1)
        torch.nn.Module.to(model, self.device)
        padded = inputs.task.collator(inputs.backbone.tokenizer)
        collator = unpad(model, padded, precision)
        cast_frozen(adapted, precision)
        rows = inputs.data["train"]
        size = 8 if self.arguments.tiny else spec.protocol.batch_size
        order = list(SeededOrder(count_tokens(rows), size, seed=1))
        whole = range(0, len(order) - size + 1, size)
        batches = [[dict(rows[index]) for index in order[at : at + size]] for at in whole]
        return model.train(), padded, collator, batches

    def _peer(self, task: str, precision: str, dropout: float | None = None) -> tuple[Peer, Any]:
        model, _, collator, rows = self._rows(task, precision, dropout)
        batches = [collator(each) for each in rows]
        return Peer(model, batches, precision, self.device), batches

    def _epoch(self, peer: Peer, batches: list[Any]) -> tuple[float, list[float]]:
        """Return the seconds of all batches in turn, and the loss of each."""
        self._synchronise()
        start = time.perf_counter()
        losses = [peer.loss(number) for number in range(len(batches))]
        self._synchronise()
        return time.perf_counter() - start, losses

    def _synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


@contextmanager
def serving(folder: Path, wanted: bool) -> Iterator[bool]:
    """Run CUDA's multi-process service for the duration of the block; tell whether it runs."""
    if not wanted:
        yield False
        return
    own = {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
    control = "nvidia-cuda-mps-control"
    os.environ.update(own)
    try:
        started = subprocess.run([control, "-d"], timeout=20, capture_output=True).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        started = False
    try:
        yield started
    finally:
        if started:
            subprocess.run([control], input=b"quit\n", timeout=20, capture_output=True)
        for name in own:
            del os.environ[name]


if __name__ == "__main__":
    main()
