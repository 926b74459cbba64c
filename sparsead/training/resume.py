"""The state of an interrupted run: its checkpoints, starting masks and precision, and times.

Each checkpoint contains the checksums of its files and of the files that it needs beside it. One
whose files do not match them, because its process was killed or its disk is damaged, is not used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_NAME
from typing_extensions import TypedDict

from sparsead.adapters.adapted import AdaptedModel
from sparsead.errors import RecordError
from sparsead.errors.memory import lacks_memory
from sparsead.pruning.masks import Masks
from sparsead.runs.checked import check_type, find_checked
from sparsead.runs.files import check_readable, write_atomically
from sparsead.training.processes import is_main

CHECKSUMS_FILE = "checksums.json"
"""A file in each checkpoint with the SHA-256 of its other files; the last one written."""
MASKS_FILE = "masks.safetensors"
PRECISION_FILE = "precision"
"""A file beside the checkpoints with the run's precision, "fp32" or "bf16"."""
SECONDS_FILE = "seconds.json"
"""A file beside the checkpoints with the seconds of each phase up to the last checkpoint."""
Precision = Literal["fp32", "bf16"]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
"""A phase's duration that can be true: at most 30 years, so that their sum can be recorded."""
_KEPT = 2
"""Number of checkpoints that are kept, so that there is another one if the newest is damaged."""


class _Control(TypedDict):
    args: dict[str, bool]


class _Callbacks(TypedDict):
    TrainerControl: _Control


class State(TypedDict):
    """What a resumed training uses of the `TrainerState` in a checkpoint."""

    epoch: float
    global_step: int
    max_steps: int
    num_train_epochs: float
    train_batch_size: int | None
    log_history: list[dict[str, float]]
    stateful_callbacks: _Callbacks
    best_global_step: None
    best_metric: None
    best_model_checkpoint: None


def save_starting_state(folder: Path, masks: Masks, precision: str) -> None:
    """Save the masks and the precision that the run starts with, beside its checkpoints."""
    if is_main():
        masks.save(folder / MASKS_FILE)
        write_atomically(folder / PRECISION_FILE, precision)


def restore_masks(folder: Path, adapted: AdaptedModel) -> Masks:
    """Return the masks that the run started with; removed weights of the model are zero again.

    Raises:
        RecordError: they are not masks of this run's prunable weights.
    """
    file = folder / MASKS_FILE
    with readable(str(file)):
        masks = Masks.load(file)
        wanted = {name: adapted.model.get_parameter(name).shape for name in adapted.prunable}
        if {name: mask.shape for name, mask in masks.items()} != wanted:
            raise ValueError("the masks belong to other tensors or shapes")
        if any(mask.dtype != torch.bool for mask in masks.values()):
            raise ValueError("they are not boolean")
    if adapted.budget is None:
        masks.enforce(adapted.model)
    return masks


def restore_precision(folder: Path, checkpoint: str | None, asked: str) -> str:
    """Return the precision of a run: the saved one if it resumes, otherwise the one asked for.

    `auto` can resolve to another precision on another machine; a resumed run must not change its
    precision silently.

    Raises:
        RecordError: what is saved is no precision.
    """
    if checkpoint is None:
        return asked
    file = folder / PRECISION_FILE
    with readable(str(file)):
        return check_type(file.read_text("utf-8"), cast(type[str], Precision))


def check_weights(checkpoint: str, model: nn.Module) -> None:
    """Check that a checkpoint has the weights of all parameters that train, and no others.

    The Trainer would take what is there, and leave the others as they were drawn.

    Raises:
        ValueError: one is missing, is of another shape or type, or does not train.
    """
    wanted = {n: (p.shape, p.dtype) for n, p in model.named_parameters() if p.requires_grad}
    saved = load_file(Path(checkpoint) / SAFE_WEIGHTS_NAME)
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in saved.items()}
    for name in sorted({*wanted, *found}):
        if wanted.get(name) != found.get(name):
            raise ValueError(
                f"{name}: is missing, does not train in this run, or has another shape or type"
            )


def save_seconds(folder: Path, seconds: Mapping[str, float]) -> None:
    """Save the seconds that each phase of the run has taken until the current checkpoint."""
    if is_main():
        write_atomically(folder / SECONDS_FILE, json.dumps(seconds))


def read_seconds(folder: Path) -> dict[str, float]:
    """Return the seconds that each phase took until the last checkpoint; none if damaged."""
    return find_checked(folder / SECONDS_FILE, dict[str, Seconds]) or {}


def seal_checkpoint(folder: Path, step: int, best: int | None = None) -> None:
    """Write the checksums of the checkpoint of a step, and remove all but the newest checkpoints.

    Checkpoints are ordered by their steps and not by their times: a clock can be set back.

    Args:
        folder: the run's folder.
        step: the step of the checkpoint.
        best: the step of a checkpoint that is kept besides.
    """
    checkpoint = folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"
    write_atomically(checkpoint / CHECKSUMS_FILE, json.dumps(_checksums(checkpoint)))
    for old in _checkpoints(folder)[:-_KEPT]:
        if _step(old) != best:
            shutil.rmtree(old)


def saved_steps(folder: Path) -> int:
    """Return the number of training steps up to the newest whole checkpoint; 0 if there is none."""
    checkpoint = _newest_whole(folder)
    return 0 if checkpoint is None else _step(checkpoint)


def open_checkpoint(folder: Path) -> str | None:
    """Return the newest whole checkpoint, from which `Trainer.train` can resume, or None.

    The others that are not whole are removed, so that no half of one is ever completed.
    """
    checkpoint = _newest_whole(folder)
    for other in _checkpoints(folder):
        if not _is_whole(other):
            shutil.rmtree(other)
    return None if checkpoint is None else str(checkpoint)


def checkpoint_epoch(checkpoint: str | None) -> float:
    """Return the epoch at which a checkpoint was written; 0 if there is none.

    Raises:
        RecordError: the checkpoint's state cannot be read.
    """
    if checkpoint is None:
        return 0.0
    with readable(checkpoint):
        # Not `parse_file`: the loss of a run that has diverged is NaN.
        values = json.loads((Path(checkpoint) / TRAINER_STATE_NAME).read_text("utf-8"))
        state = check_type(values, State)
        TrainerState(**values)  # refuses other keys, as the Trainer will
        if state["global_step"] != _step(Path(checkpoint)):
            step = state["global_step"]
            raise ValueError(f"global_step={step}: differs from the step in the checkpoint's name")
        if not all("epoch" in entry for entry in state["log_history"]):
            raise ValueError("log_history: an entry has no epoch")
        return state["epoch"]


@contextmanager
def readable(checkpoint: str | None) -> Iterator[None]:
    """Read a checkpoint in the block; what cannot be read in it becomes one clear error.

    That memory is full is no fault of the checkpoint's, which nobody should delete for it.

    Its checksums have been verified, so that only somebody who also wrote them can have changed it.
    Tensors and generators are read by `torch.load(weights_only=True)`, which runs no code.

    Raises:
        RecordError: the block raised an error.
    """
    try:
        yield
    except Exception as error:
        if lacks_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RecordError(
            f"{checkpoint}: is not a checkpoint of this run ({reason}); delete it to train from "
            "the checkpoint before it, or from the start"
        ) from error


def remove_checkpoints(folder: Path) -> None:
    """Remove the files that only a resumed training needs."""
    for checkpoint in _checkpoints(folder):
        shutil.rmtree(checkpoint)
    for file in (SECONDS_FILE, PRECISION_FILE, MASKS_FILE):
        (folder / file).unlink(missing_ok=True)


def _checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoints, whole or not, in the order of their steps."""
    found = folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    return sorted((path for path in found if _is_checkpoint(path)), key=_step)


def _is_checkpoint(path: Path) -> bool:
    number = path.name.rpartition("-")[2]
    return number.isascii() and number.isdecimal() and path.is_dir() and not path.is_symlink()


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _newest_whole(folder: Path) -> Path | None:
    return next(filter(_is_whole, reversed(_checkpoints(folder))), None)


def _is_whole(checkpoint: Path) -> bool:
    saved = find_checked(checkpoint / CHECKSUMS_FILE, dict[str, str])
    try:
        return bool(saved) and saved == _checksums(checkpoint)
    except OSError:
        return False


def _checksums(checkpoint: Path) -> dict[str, Any]:
    """Return the SHA-256 of each file of a checkpoint, and of the files that it needs beside it."""
    inside = [file for file in sorted(checkpoint.iterdir()) if file.name != CHECKSUMS_FILE]
    beside = [checkpoint.parent / name for name in (MASKS_FILE, PRECISION_FILE)]
    digests = {}
    for file in (*inside, *beside):
        check_readable(file)
        with file.open("rb") as stream:
            digests[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests
