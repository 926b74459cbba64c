"""Records of runs with masks that are drawn by hand, made without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sparsead.pruning.storage import WEIGHTS_FILE, save_sparse
from sparsead.runs.record import staged, write_result

SITE = "bert.encoder.layer.{}.{}.adapter.{}.weight"
FFN = "output.dropout"
ATTENTION = "attention.output.dropout"


def mask(*rows: str) -> np.ndarray:
    """Read a mask off a drawing: x is kept."""
    return np.array([[weight == "x" for weight in row] for row in rows])


MASKS = {
    SITE.format(0, ATTENTION, "down"): mask("xxx.", "...."),
    SITE.format(0, ATTENTION, "up"): mask("x.", "x.", "x.", "x."),
    SITE.format(0, FFN, "down"): mask("xxxx", "xxxx"),
    SITE.format(0, FFN, "up"): mask("x.", "..", "..", ".."),
    SITE.format(1, FFN, "down"): mask("....", "xx.."),
    SITE.format(1, FFN, "up"): mask("x.", "x.", ".x", ".x"),
}
OTHERS = {
    SITE.format(0, ATTENTION, "down"): mask("x..x", "x..x"),
    SITE.format(0, FFN, "down"): mask("xx..", "...."),
    SITE.format(0, FFN, "up"): mask("xx"),
    "elsewhere.down.weight": mask("xx"),
}


def write_run(outputs: Path, name: str, masks: dict[str, np.ndarray], **changes: object) -> Path:
    """Write the record of a run with these masks, and return its folder."""
    config = {
        "task": {"name": "mrpc"},
        "backbone": {"name": "minilm"},
        "adapter": {"name": "houlsby", "options": {"bottleneck": 2}},
        "pruner": {"name": "snip"},
        "seed": 3,
    }
    sparsity = {"requested": 0.4}
    result = {"config": config, "scores": {"accuracy": 0.8162, "f1": 0.9}, "sparsity": sparsity}
    tensors = {tensor: kept.astype(np.float32) for tensor, kept in masks.items()}
    with staged(outputs / "runs" / name) as staging:
        save_sparse(staging / WEIGHTS_FILE, tensors, masks, {})
        write_result(staging, result | changes, "")
    return outputs / "runs" / name
