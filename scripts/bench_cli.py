"""Time whole commands on synthetic records: python scripts/bench_cli.py."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

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
    tensors = {f"encoder.layer.{n}.adapter.up.weight": {"removed": n} for n in range(TENSORS)}
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
            "total": 10**9,
            "removed": round(10**9 * request.spec.sparsity),
            "scored_on": list(range(320)),
            "by_tensor": tensors,
        },
        "seconds": {"load": 1.0, "prune": 1.0, "train": 60.0, "evaluate": 5.0},
        "environment": {"device": {"kind": "cpu"}, "precision": "fp32", "packages": {}},
    }


def write_records(outputs: Path, count: int) -> None:
    """Write `count` records, of settings with different sparsities and SEEDS seeds each."""
    spec = compose(["pruner=snip"])
    for number in range(count):
        ratio = (number // SEEDS) / count
        seeded = replace(spec, sparsity=ratio, seed=number % SEEDS + 1)
        write_record(RunRequest(seeded, outputs))


def write_record(request: RunRequest) -> None:
    folder = request.folder
    folder.mkdir(parents=True)
    write_result(folder, synthetic_result(request), "")


def seconds(*arguments: str, repeats: int = REPEATS) -> float:
    """Return the seconds of the fastest of `repeats` calls of the console script."""
    script = Path(sys.executable).with_name("sparsead")
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([script, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the times to this file")
    arguments = parser.parse_args()
    figures = {"sparsead --help": seconds("--help")}
    with tempfile.TemporaryDirectory() as folder:
        for count in COUNTS:
            outputs = Path(folder) / str(count)
            write_records(outputs, count)
            option = ("--outputs", str(outputs))
            figures[f"sparsead table, {count} records, no index yet"] = seconds(
                "table", *option, repeats=1
            )
            for verb in ("table", "runs"):
                figures[f"sparsead {verb}, {count} records"] = seconds(verb, *option)
        outputs = Path(folder) / "finished"
        overrides = ("backbone=tiny-bert", f"seeds={SEEDS}", f"outputs={outputs}")
        wanted = list_cells(load_table(TABLE, overrides))
        for cell in wanted:
            write_record(cell.request)
        seconds("reproduce", TABLE, *overrides, repeats=1)
        name = f"sparsead reproduce {TABLE} again, {len(wanted)} runs"
        figures[name] = seconds("reproduce", TABLE, *overrides)
    for name, value in figures.items():
        print(f"{name:<48} {value:6.2f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
