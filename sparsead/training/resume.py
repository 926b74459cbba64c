"""What an interrupted run was begun with, where asking again could choose otherwise."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

MASKS_FILE = "masks.safetensors"
PRECISION_FILE = "precision"
"""Beside the checkpoints: what the run computes in, "fp32" or "bf16"."""


def begun_precision(folder: Path, checkpoint: str | None, asked: str) -> str:
    """Return what a run computes in: what was asked for, or what it was begun in.

    `auto` on another machine could mean another precision, and the two halves of the training
    would be mixed without a word.
    """
    if checkpoint is not None:
        with suppress(OSError):
            return (folder / PRECISION_FILE).read_text("utf-8")
    return asked
