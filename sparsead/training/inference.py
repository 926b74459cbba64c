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
    """Return the logits of all rows, computed as in the evaluation of a run.

    Args:
        model: the model in eval mode, on the device to compute on.
        rows: the encoded rows, at least one.
        collator: makes batches of rows.
        batch_size: size of a batch, as the number of rows of mean length.
        precision: "fp32" or "bf16".

    Returns:
        `predictions` are the logits in the order of the rows: an array of shape (rows, …), or a
        tuple of arrays if the head has several outputs. Logits of tokens are padded with -100.
        `label_ids` is empty.
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
    """Return a context in which torch computes in bf16 if `precision` is bf16."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")


def _logits(outputs: Any) -> list[torch.Tensor]:
    """Return the head's logits: `logits`, or `start_logits` and `end_logits`."""
    return [value for name, value in outputs.items() if name.endswith("logits")]
