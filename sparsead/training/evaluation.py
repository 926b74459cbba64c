"""When a training evaluates, in which batches, and their outputs in the order of the rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow.compute
from datasets import Dataset, LargeList, List
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sparsead.config.protocol import ProtocolSpec
from sparsead.tasks.contract import Collator

log = logging.getLogger(__name__)


def count_tokens(rows: Dataset, columns: Sequence[str] = ("input_ids",)) -> list[int]:
    """Return the number of tokens of each encoded row, summed over these columns."""
    table = rows.with_format("arrow").select_columns(list(columns))[:]
    lengths = [pyarrow.compute.list_value_length(column).to_numpy() for column in table.columns]
    counts: list[int] = np.sum(lengths, axis=0).tolist()
    return counts


def padded_columns(rows: Dataset) -> list[str]:
    """Return the columns that are padded: the input, and the target if it is a text."""
    target_is_text = isinstance(rows.features.get("labels"), List | LargeList)
    return ["input_ids", "labels"] if target_is_text else ["input_ids"]


def token_batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Group rows of similar length into batches of about the same number of tokens when padded.

    Args:
        lengths: number of tokens of each row.
        size: size of a batch, as the number of rows of mean length.

    Returns:
        Indices of the rows of each batch, the longest first. A row that exceeds the size of a batch
        is alone in its batch.
    """
    longest_first = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    budget = size * sum(lengths) / max(len(lengths), 1)
    batches: list[list[int]] = []
    for index in longest_first:
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > budget:
            batches.append([])
        batches[-1].append(index)
    return batches


def restore_order(values: Any, batches: Sequence[Sequence[int]]) -> Any:
    """Reorder arrays, or a tuple of them, from the order of `batches` to that of the rows."""
    if isinstance(values, tuple):
        return tuple(restore_order(value, batches) for value in values)
    return None if values is None else values[np.argsort(np.concatenate(batches))]


def collate_batches(
    rows: Dataset, batches: Sequence[Sequence[int]], collator: Collator
) -> list[Any]:
    """Return the collated batches of the rows."""
    return list(DataLoader(rows, batch_sampler=batches, collate_fn=collator))  # type: ignore[arg-type]


def unwrap_batch(batches: Sequence[Any]) -> Any:
    """Return the only element of a list, which is a batch that has been collated before."""
    (batch,) = batches
    return batch


class WithinEpochs(TrainerCallback):
    """Evaluates before training and within each epoch, besides the evaluation at its end.

    Args:
        evaluate: evaluates the model.
        protocol: says how many evaluations there are, spread evenly. There is at most one after
            each step.
        examples: number of examples in an epoch.
    """

    def __init__(
        self, evaluate: Callable[[], object], protocol: ProtocolSpec, examples: int
    ) -> None:
        self._evaluate = evaluate
        self._steps = protocol.steps_per_epoch(examples)
        self._per_epoch = min(protocol.evaluations_per_epoch(examples), self._steps)
        if protocol.evaluations_per_epoch(examples) > self._steps:
            log.warning(
                "protocol.evaluations=%d: an epoch has only %d steps; evaluates after each",
                protocol.evaluations,
                self._steps,
            )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Evaluate the model before its first step; a resumed training has done so."""
        if state.global_step == 0:
            state.epoch = 0.0
            self._evaluate()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Request an evaluation where one is due, and the loss of the steps before it."""
        steps, parts = self._steps, self._per_epoch
        due = {round(number * steps / parts) for number in range(1, parts)}
        if state.global_step % steps in due - {0} and state.global_step < state.max_steps:
            control.should_log = control.should_evaluate = True
