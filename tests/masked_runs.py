"""Records of runs with given masks, written without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sparsead.pruning.storage import WEIGHTS_FILE, save_sparse
from sparsead.runs.record import write_result
from sparsead.runs.staging import staged
from synthetic import plain_result

SITE = "bert.encoder.layer.{}.{}.adapter.{}.weight"
FFN = "output.dropout"
ATTENTION = "attention.output.dropout"


def mask(*rows: str) -> np.ndarray:
    """Return the mask that a text draws, in which x stands for a kept weight."""
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
    *_, pruner, _, _, identity = name.split("_") if name.count("_") == 6 else ["snip", "", "", ""]
    result = plain_result(seed=3, pruner=pruner, scores={"accuracy": 0.8162, "f1": 0.9})
    result["config"]["adapter"]["options"]["bottleneck"] = 2
    result["identity"] = identity or result["identity"]
    tensors = {tensor: kept.astype(np.float32) for tensor, kept in masks.items()}
    with staged(outputs / "runs" / name) as staging:
        metadata = {"identity": result["identity"]}
        save_sparse(staging / WEIGHTS_FILE, tensors, masks, metadata)
        write_result(staging, result | changes, "")
    return outputs / "runs" / name
