"""Time whole commands on synthetic records: python scripts/bench_cli.py."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from turns import Budget, TimeUp

from sparsead.config.compose import compose
from sparsead.runs.record import write_result
from sparsead.runs.request import RunRequest
from sparsead.tables.cells import list_cells
from sparsead.tables.files import load_table

COUNTS = (100, 10_000)
SEEDS = 5
TABLE = "table1"
TENSORS = 24
REPEATS = 3


def synthetic_result(request: RunRequest) -> dict[str, object]:
    """Return a result as large as that of a real run of Houlsby adapters in a base model."""
    accuracy = 0.5 + int(request.identity[:4], 16) / 2**18
    metrics = ("accuracy", "f1", "matthews_correlation", "pearson", "spearmanr")
    scores = dict.fromkeys(metrics, accuracy)
    total, removed = 10**9, round(10**9 * request.spec.sparsity)
    counts = {"total": total // TENSORS, "removed": removed // TENSORS}
    tensors = {f"encoder.layer.{n}.adapter.up.weight": counts for n in range(TENSORS)}
    return {
        "identity": request.identity,
        "setting": request.setting,
        "config": request.spec.to_dict(),
        "scores": scores,
        "history": [{"epoch": n, "train_loss": 0.5, "scores": scores} for n in range(1, 6)],
        "parameters": {"nominal": 0.0115, "trainable_nonzeros": 1, "stored_bytes": 1},
        "sparsity": {
            "requested": request.spec.sparsity,
            "realised": request.spec.sparsity,
            "total": total,
            "removed": removed,
            "scored_on": list(range(320)),
            "by_tensor": tensors,
        },
        "seconds": {"load": 1.0, "prune": 1.0, "train": 60.0, "evaluate": 5.0},
        "environment": {"device": {"kind": "cpu"}, "precision": "fp32", "packages": {}},
    }


def write_records(outputs: Path, count: int, budget: Budget) -> None:
    """Write `count` records, of settings with different sparsities and SEEDS seeds each."""
    spec = compose(["pruner=snip"])
    for number in range(count):
        budget.check()
        ratio = (number // SEEDS) / count
        seeded = replace(spec, sparsity=ratio, seed=number % SEEDS + 1)
        write_record(RunRequest(seeded, outputs))


def write_record(request: RunRequest) -> None:
    folder = request.folder
    folder.mkdir(parents=True)
    write_result(folder, synthetic_result(request), "")


def fastest(budget: Budget, *arguments: str, repeats: int = REPEATS) -> float:
    """Return the seconds of the fastest of `repeats` calls of the console script."""
    script = Path(sys.executable).with_name("sparsead")
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        command = [str(script), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=budget.timeout)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=None, help="stop after this time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the times to this file")
    arguments = parser.parse_args()
    budget = Budget(arguments.minutes)
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name, value in measure(Path(folder), budget):
                print(f"{name:<48} {value:6.2f} s", flush=True)
                figures[name] = value
        except (TimeUp, subprocess.TimeoutExpired):
            print(f"the time is up after {budget}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


def measure(folder: Path, budget: Budget) -> Iterator[tuple[str, float]]:
    """Yield each command and its seconds as it is measured, the shortest first."""
    seconds = partial(fastest, budget)
    yield "sparsead --help", seconds("--help")
    outputs = folder / "finished"
    overrides = ("backbone=tiny-bert", f"seeds={SEEDS}", f"outputs={outputs}")
    wanted = list_cells(load_table(TABLE, overrides))
    for cell in wanted:
        write_record(cell.request)
    seconds("reproduce", TABLE, *overrides, repeats=1)
    name = f"sparsead reproduce {TABLE} again, {len(wanted)} runs"
    yield name, seconds("reproduce", TABLE, *overrides)
    for count in COUNTS:
        outputs = folder / str(count)
        write_records(outputs, count, budget)
        option = ("--outputs", str(outputs))
        first = seconds("table", *option, repeats=1)
        yield f"sparsead table, {count} records, no index yet", first
        for verb in ("table", "runs"):
            yield f"sparsead {verb}, {count} records", seconds(verb, *option)


if __name__ == "__main__":
    main()
