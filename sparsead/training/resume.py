"""The state of an interrupted run: its checkpoints, starting masks and precision, and times."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from torch import nn
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from sparsead.pruning.masks import Masks
from sparsead.runs.files import read_json, write_atomically
from sparsead.training.processes import is_main

MASKS_FILE = "masks.safetensors"
PRECISION_FILE = "precision"
"""A file beside the checkpoints with the run's precision, "fp32" or "bf16"."""
SECONDS_FILE = "seconds.json"
"""A file beside the checkpoints with the seconds of each phase up to the last checkpoint."""


def save_starting_state(folder: Path, masks: Masks, precision: str) -> None:
    """Save the masks and the precision that the run starts with, beside its checkpoints."""
    if is_main():
        masks.save(folder / MASKS_FILE)
        (folder / PRECISION_FILE).write_text(precision, "utf-8")


def restore_masks(folder: Path, model: nn.Module) -> Masks:
    """Return the masks that the run started with, and enforce them in `model`."""
    masks = Masks.load(folder / MASKS_FILE)
    masks.enforce(model)
    return masks


def restore_precision(folder: Path, checkpoint: str | None, asked: str) -> str:
    """Return the precision of a run: the saved one if it resumes, otherwise the one asked for.

    `auto` can resolve to another precision on another machine; a resumed run must not change its
    precision silently.
    """
    if checkpoint is not None:
        with suppress(OSError):
            return (folder / PRECISION_FILE).read_text("utf-8")
    return asked


def save_seconds(folder: Path, seconds: Mapping[str, float]) -> None:
    """Save the seconds that each phase of the run has taken until the current checkpoint."""
    if is_main():
        write_atomically(folder / SECONDS_FILE, json.dumps(seconds))


def read_seconds(folder: Path) -> dict[str, float]:
    """Return the seconds that each phase took until the last checkpoint."""
    return read_json(folder / SECONDS_FILE)


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest complete checkpoint, from which `Trainer.train` can resume, or None."""
    checkpoints = folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    by_step = sorted(checkpoints, key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [str(path) for path in by_step if _is_whole(path)]
    return whole[-1] if whole else None


def checkpoint_epoch(checkpoint: str | None) -> float:
    """Return the epoch at which a checkpoint was written; 0 if there is none."""
    if checkpoint is None:
        return 0.0
    state = json.loads((Path(checkpoint) / TRAINER_STATE_NAME).read_text("utf-8"))
    return float(state["epoch"])


def remove_checkpoints(folder: Path) -> None:
    """Remove the files that only a resumed training needs."""
    for checkpoint in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        shutil.rmtree(checkpoint)
    (folder / SECONDS_FILE).unlink(missing_ok=True)
    for file in (PRECISION_FILE, MASKS_FILE):  # last: no checkpoint is of use without them
        (folder / file).unlink()


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text("utf-8"))  # the last file written
    except (OSError, ValueError):
        return False
    return True
