"""Records in the form of real ones, made without training."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from composing import compose
from sparsead.runs.record import write_result
from sparsead.runs.request import RunRequest
from sparsead.runs.result import name_of
from sparsead.runs.staging import staged

_TOTAL = 10**9


def synthetic_result(request: RunRequest) -> dict[str, object]:
    """A result that depends on the run alone, with a history and lists as long as real ones."""
    accuracy = 0.5 + int(request.identity[:4], 16) / 2**18
    return {
        "identity": request.identity,
        "setting": request.setting,
        "config": request.spec.to_dict(),
        "scores": {"accuracy": accuracy, "f1": accuracy},
        "history": [{"epoch": epoch, "scores": {"accuracy": accuracy}} for epoch in range(1, 6)],
        "parameters": {"nominal": 0.0123, "stored_bytes": 1000},
        "sparsity": {
            "requested": request.spec.sparsity,
            "realised": request.spec.sparsity,
            "total": _TOTAL,
            "removed": round(_TOTAL * request.spec.sparsity),
            "scored_on": list(range(320)),
            "by_tensor": {},
        },
        "seconds": {"load": 1.0, "train": 10.0},
        "environment": {"device": {"kind": "cpu"}},
    }


def plain_result(
    *, seed: int = 1, sparsity: float = 0.4, setting: str = "", **changes: Any
) -> dict[str, Any]:
    """Return a whole result of a run that was never composed.

    Args:
        seed: the run's seed.
        sparsity: requested and realised.
        setting: any text that the runs of one setting share; None for the names and the sparsity.
        changes: names of the groups, such as `pruner="snip"`, and other parts of the result.
    """
    config = deepcopy(_config())
    for group in ("backbone", "task", "adapter", "pruner"):
        config[group]["name"] = changes.pop(group, config[group]["name"])
    config |= {"seed": seed, "sparsity": sparsity}
    setting = setting or json.dumps(config | {"seed": 0})
    return {
        "identity": _hash(f"{setting} {json.dumps(config)}"),
        "setting": _hash(setting),
        "config": config,
        "scores": {"accuracy": 0.5},
        "parameters": {"nominal": 0.0123},
        "sparsity": {
            "requested": sparsity,
            "realised": sparsity,
            "total": _TOTAL,
            "removed": round(_TOTAL * sparsity),
        },
        "seconds": {"load": 1.0, "train": 10.0},
    } | changes


def write_record(outputs: Path, result: dict[str, Any]) -> Path:
    """Write a record with this result below `outputs`, and return its folder."""
    folder = outputs / "runs" / name_of(result)
    with staged(folder, replace=True) as staging:
        write_result(staging, result, "")
    return folder


@cache
def _config() -> dict[str, Any]:
    return compose("task=mrpc", "pruner=snip").to_dict()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
