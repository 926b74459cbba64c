"""Time a training step beside other processes, by how OpenMP's idle threads wait.

    python scripts/bench_busy.py [--backbone minilm] [--task-path FOLDER] [--minutes 20]

Each way of waiting has a process of its own, because OpenMP reads its settings when it starts. The
processes take turns, in a new random order each turn, alone ("idle"), beside busy loops, and beside
a second training in the same way. The last column is the step's time as a multiple of what the fair
share of the cores gives: of the time alone in PyTorch's default way, times the number of threads
that want a core divided by the number of cores. At the end two runs are trained one after the
other, and at once by jobs_per_gpu=2.

Run it on an idle machine: other processes slow the case "idle" too. The first line of the
output shows the load.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

from bench_sweep import sweep
from turns import Budget, take_turns

from sparsead.config.threads import bound_spinning, usable_cores

ALONE, TWIN = "idle", "a second training"
DEFAULT, OURS = "PyTorch's default", "sparsead's"
ENDLESS = "while True: pass"


def list_ways() -> dict[str, dict[str, str]]:
    """Return the environment of each way of waiting."""
    ours: dict[str, str] = {}
    bound_spinning(ours)
    counts = {f"GOMP_SPINCOUNT={n}": {"GOMP_SPINCOUNT": str(n)} for n in (500, 1000, 3000, 10000)}
    return {
        DEFAULT: {},
        OURS: ours,
        **counts,
        "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
        "one thread": {"OMP_NUM_THREADS": "1"},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--task-path", type=Path, default=None, help="GLUE folder, for RTE's text")
    parser.add_argument("--turns", type=int, default=15, help="times of each case")
    parser.add_argument("--steps", type=int, default=3, help="steps of each time")
    parser.add_argument("--loops", default="0,1,2", help="numbers of busy loops")
    parser.add_argument("--ways", default="", help="only ways with one of these texts in the name")
    parser.add_argument("--minutes", type=float, default=None, help="stop after this time")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.backbone, arguments.task_path)
        return
    cores = usable_cores().number
    say(f"{cores} cores, load of the last minute {os.getloadavg()[0]:.2f}")
    bench = Bench(arguments)
    figures = {"cores": cores, "load": os.getloadavg(), "seconds": bench.steps()}
    figures["jobs"] = bench.jobs()
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


class Bench:
    """A process for each way of waiting, and a second one for the case of two trainings."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.budget = Budget(arguments.minutes)
        wanted = [word for word in arguments.ways.split(",") if word]
        self.ways = {
            name: environment
            for name, environment in list_ways().items()
            if not wanted or name == DEFAULT or any(word in name for word in wanted)
        }

    def steps(self) -> dict[str, dict[str, float]]:
        """Return the median seconds of a step, by what runs beside it and by way of waiting."""
        loops = [int(number) for number in self.arguments.loops.split(",")]
        cases = {ALONE if n == 0 else f"{n} busy loop{'s' * (n > 1)}": n for n in sorted(loops)}
        seconds: dict[str, dict[str, float]] = {}
        with ExitStack() as stack:

            @cache
            def worker(name: str, _number: int) -> Worker:
                return stack.enter_context(Worker(self.arguments, self.ways[name]))

            threads = worker(DEFAULT, 0).threads
            for case, number in {**cases, TWIN: 0}.items():
                numbers = (0, 1) if case == TWIN else (0,)
                timed = {
                    name: partial(self._timed, [partial(worker, name, each) for each in numbers])
                    for name in self.ways
                }
                say(f"{case}:")
                wanting = threads + (threads if case == TWIN else number)
                first = seconds.get(ALONE, {}).get(DEFAULT)
                tell = partial(self._tell, wanting, first)
                with busy_loops(number):
                    times = take_turns(timed, self.arguments.turns, self.budget, tell, quiet)
                seconds[case] = {name: median(each) for name, each in times.items()}
                for name in times:
                    tell(name, times)
                if self.budget.spent:
                    say(f"the time is up after {self.budget}")
                    break
        return seconds

    def jobs(self) -> dict[str, float]:
        """Return the seconds of two runs: one after the other, and at once."""
        source = ["task=demo_mrpc"]
        if self.arguments.task_path is not None:
            source = ["task=rte", f"task.path={self.arguments.task_path.resolve()}"]
        runs = [f"backbone={self.arguments.backbone}", *source, "device=cpu", "precision=fp32"]
        runs += ["task.limit=200", "protocol.epochs=1", "seed=1,2"]
        figures: dict[str, float] = {}
        for name, launcher in {
            "one after the other": [],
            "jobs_per_gpu=2": ["jobs_per_gpu=2"],
        }.items():
            if self.budget.spent:
                break
            try:
                done = sweep([*runs, *launcher], self.budget)
            except subprocess.TimeoutExpired:
                say(f"the time is up after {self.budget}")
                break
            figures[name] = done["wall"]
            say(
                f"two runs {name:<24} {done['wall']:8.1f} s in all, "
                f"{done['seconds']['train']:.1f} s of steps"
            )
        return figures

    def _timed(self, start: list[Callable[[], Worker]], _turn: int) -> float:
        """Return the seconds of a step in the first worker, while all of them work."""
        workers = [each() for each in start]
        steps: int = self.arguments.steps
        for worker in workers:
            worker.ask(steps)
        taken = [worker.answer() for worker in workers]
        return taken[0] / steps

    def _tell(
        self, wanting: int, alone: float | None, name: str, times: dict[str, list[float]]
    ) -> None:
        first = median(times[DEFAULT]) if alone is None else alone
        fair = first * max(1.0, wanting / usable_cores().number)
        own, default = median(times[name]), median(times[DEFAULT])
        say(
            f"  {name:<26} {own:8.4f} s a step, {own / default:6.3f} of the default, "
            f"{own / fair:6.2f} of the fair share ({len(times[name])} times)"
        )


class Worker:
    """A process that runs training steps in one way of waiting."""

    def __init__(self, arguments: argparse.Namespace, environment: dict[str, str]) -> None:
        kept = {name: value for name, value in os.environ.items() if not _sets_threads(name)}
        command = [sys.executable, __file__, "--worker", f"--backbone={arguments.backbone}"]
        if arguments.task_path is not None:
            command.append(f"--task-path={arguments.task_path}")
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=kept | environment, **pipes)
        self.threads = int(self.answer())

    def ask(self, steps: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()

    def answer(self) -> float:
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def work(backbone: str, task_path: Path | None) -> None:
    """Print the number of threads, and for each number of steps read the seconds that they take."""
    import time

    import torch
    from bench_pruning import DENSE
    from bench_pruning import Bench as Model

    from sparsead.training.allocator import keep_freed_memory
    from sparsead.training.quiet import quiet_libraries

    answers, sys.stdout = sys.stdout, sys.stderr
    quiet_libraries()
    keep_freed_memory()
    step: Callable[[], None] = Model(backbone, task_path).makers[DENSE]()
    step()
    answers.write(f"{torch.get_num_threads()}\n")
    answers.flush()
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        answers.write(f"{time.perf_counter() - start}\n")
        answers.flush()


@contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Keep so many cores busy for the duration of the block."""
    loops = [subprocess.Popen([sys.executable, "-c", ENDLESS]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _sets_threads(name: str) -> bool:
    return name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))


def say(line: str) -> None:
    print(line, flush=True)


def quiet(_line: str) -> None:
    """Print nothing after each turn: the rows follow at the end of each case."""


if __name__ == "__main__":
    main()
