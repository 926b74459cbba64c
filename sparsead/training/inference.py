"""A trained model's outputs for encoded rows: a plain loop over batches, without a Trainer."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from datasets import Dataset
from transformers import EvalPrediction, PreTrainedModel
from transformers.trainer_pt_utils import EvalLoopContainer

from sparsead.tasks.contract import Collator
from sparsead.training.evaluation import (
    collate_batches,
    count_tokens,
    padded_columns,
    restore_order,
    token_batches,
)


@torch.no_grad()
def model_outputs(
    model: PreTrainedModel, rows: Dataset, collator: Collator, *, batch_size: int, precision: str
) -> EvalPrediction:
    """Return the logits of all rows, as an evaluation of a run computes them.

    Args:
        model: in eval mode, on the device to compute on.
        rows: encoded, with at least one row.
        collator: makes batches of rows.
        batch_size: number of rows of mean length that are as large as a batch may be.
        precision: "fp32" or "bf16".

    Returns:
        `predictions`: the logits, an array of shape (rows, …), or a tuple of such where the head
        has several, in the rows' order; shorter rows of tokens are filled with -100. There are no
        labels.
    """
    batches = token_batches(count_tokens(rows, padded_columns(rows)), batch_size)
    accepted = inspect.signature(type(model).forward).parameters
    columns = [name for name in rows.column_names if name in accepted]
    outputs = EvalLoopContainer()
    for batch in collate_batches(rows.select_columns(columns), batches, collator):
        with autocast(model, precision):
            logits = _logits(model(**send_to_device(batch, model.device)))
        outputs.add(tuple(each.float() for each in logits))
    predictions = restore_order(outputs.get_arrays(), batches)
    logits = predictions if len(predictions) > 1 else predictions[0]
    return EvalPrediction(logits, label_ids=np.empty(0))


def autocast(model: PreTrainedModel, precision: str) -> AbstractContextManager[None]:
    """Compute in bf16 inside, if that is the precision."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")


def _logits(outputs: Any) -> list[torch.Tensor]:
    """Return what a head gives: `logits`, or the start's and the end's."""
    return [value for name, value in outputs.items() if name.endswith("logits")]
