"""Measure the overhead of a sweep: python scripts/bench_sweep.py [--quick | --jobs 1,4,8].

One process trains a small table. The wall time of the process is divided by the seconds of the
training and evaluation steps, data loading included; a second ratio also counts the seconds of
pruning as steps. With --jobs N, N processes train a cell of each pruner with N seeds in parallel,
and the script prints the number of cells per hour. With --minutes a sweep that takes longer is
stopped, and gives no figures.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from turns import Budget

from sparsead.runs.record import read_records

STEPS = ("train", "evaluate", "report")
SCORING = "prune"
GOAL = 1.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument(
        "--random-weights", action="store_true", help="use random weights and a small tokenizer"
    )
    parser.add_argument("--task", choices=("mrpc", "rte"), default="mrpc")
    parser.add_argument("--task-path", type=Path, default=None, help="GLUE folder; else generated")
    parser.add_argument("--quick", action="store_true", help="two small cells")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=None, help="stop after this time")
    parser.add_argument("--jobs", default=None, help="numbers of processes, such as 1,4,8")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    arguments = parser.parse_args()
    source = [f"task=demo_{arguments.task}"]
    if arguments.task_path is not None:
        source = [f"task={arguments.task}", f"task.path={arguments.task_path.resolve()}"]
    table = ["pruner=random,snip", "seed=1,2", f"protocol.epochs={arguments.epochs}"]
    if arguments.quick:
        table = ["pruner=random,snip", "protocol.epochs=1", "task.limit=256"]
    if arguments.random_weights:  # its tokens are single characters, so that texts are longer
        source += ["backbone.hub=null", "backbone.package=null", "task.max_length=128"]
    overrides = [f"backbone={arguments.backbone}", f"device={arguments.device}", *source, *table]
    budget = Budget(arguments.minutes)
    try:
        if arguments.jobs is None:
            report(sweep(overrides, budget), arguments.json)
        else:
            numbers = [int(jobs) for jobs in arguments.jobs.split(",")]
            report_jobs(overrides, numbers, budget, arguments.json)
    except subprocess.TimeoutExpired:
        print(f"the sweep was not finished within {arguments.minutes:g} minutes")


def sweep(overrides: list[str], budget: Budget) -> dict[str, Any]:
    """Train the cells in a new process, and return the summed seconds of their records.

    Raises:
        subprocess.TimeoutExpired: they were not trained within the budget.
    """
    script = Path(sys.executable).with_name("sparsead")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [str(script), "train", "-m", *overrides, f"outputs={folder}"]
        run_group(command, budget.timeout)
        wall = time.perf_counter() - start
        results = [record.result for record in read_records(Path(folder))]
    seconds: Counter[str] = Counter()
    for result in results:
        seconds.update(result["seconds"])
    steps = sum(seconds[phase] for phase in STEPS)
    return {
        "cells": len(results),
        "precision": results[0]["environment"]["precision"],
        "seconds": dict(seconds) | {"all else": wall - sum(seconds.values())},
        "wall": wall,
        "wall ÷ steps": wall / steps,
        "wall ÷ steps and scoring": wall / (steps + seconds[SCORING]),
    }


def run_group(command: list[str], timeout: float | None) -> None:
    """Run a command, and stop all processes that it has started if it takes longer.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        status = process.wait(timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if status:
        raise subprocess.CalledProcessError(status, command)


def report_jobs(
    overrides: list[str], numbers: list[int], budget: Budget, json_file: Path | None
) -> None:
    """Print the number of cells per hour for each number of processes."""
    figures = {}
    for jobs in numbers:
        cells = [f"seed={','.join(str(seed) for seed in range(1, jobs + 1))}"]
        launcher = [f"jobs_per_gpu={jobs}"] if jobs > 1 else []
        done = sweep([*overrides, *cells, *launcher], budget)
        figures[jobs] = 3600 * done["cells"] / done["wall"]
        print(
            f"{jobs} jobs: {done['cells']} cells in {done['wall']:.1f} s, "
            f"{figures[jobs]:.0f} per hour",
            flush=True,
        )
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


def report(figures: dict[str, Any], json_file: Path | None) -> None:
    table = Table("", "seconds", "share of the wall time")
    for phase, seconds in (figures["seconds"] | {"wall": figures["wall"]}).items():
        table.add_row(phase, f"{seconds:.2f}", f"{100 * seconds / figures['wall']:.1f} %")
    console = Console()
    console.print(table)
    for ratio in ("wall ÷ steps", "wall ÷ steps and scoring"):
        console.print(f"{ratio} {figures[ratio]:.3f}, goal ≤ {GOAL}", highlight=False)
    console.print({key: figures[key] for key in ("cells", "precision")})
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
