"""What an interrupted run leaves beside its checkpoints: what it was begun with, and its time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from torch import nn

from sparsead.pruning.masks import Masks
from sparsead.runs.files import read_json, write_atomically
from sparsead.training.processes import is_main

MASKS_FILE = "masks.safetensors"
PRECISION_FILE = "precision"
"""Beside the checkpoints: what the run computes in, "fp32" or "bf16"."""
SECONDS_FILE = "seconds.json"
"""Beside the checkpoints: what each phase took up to the last of them, over all processes."""


def keep_beginning(folder: Path, masks: Masks, precision: str) -> None:
    """Write beside the checkpoints-to-be what the run is begun with."""
    if is_main():
        masks.save(folder / MASKS_FILE)
        (folder / PRECISION_FILE).write_text(precision, "utf-8")


def begun_masks(folder: Path, model: nn.Module) -> Masks:
    """Return the masks that the run was begun with, in force in `model`."""
    masks = Masks.load(folder / MASKS_FILE)
    masks.enforce(model)
    return masks


def begun_precision(folder: Path, checkpoint: str | None, asked: str) -> str:
    """Return what a run computes in: what was asked for, or what it was begun in.

    `auto` on another machine could mean another precision, and the two halves of the training
    would be mixed without a word.
    """
    if checkpoint is not None:
        with suppress(OSError):
            return (folder / PRECISION_FILE).read_text("utf-8")
    return asked


def keep_seconds(folder: Path, seconds: Mapping[str, float]) -> None:
    """Write beside a checkpoint what each phase of the run has taken until then."""
    if is_main():
        write_atomically(folder / SECONDS_FILE, json.dumps(seconds))


def begun_seconds(folder: Path) -> dict[str, float]:
    """Return what each phase took before the last checkpoint."""
    return read_json(folder / SECONDS_FILE)
