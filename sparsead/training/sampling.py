"""The order of the training examples, and the sample that pruners score on."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from datasets import Dataset
from torch.utils.data import DataLoader, Sampler
from transformers import BatchEncoding, PreTrainedModel
from transformers.trainer_pt_utils import get_length_grouped_indices

from sparsead.seeding import make_generator
from sparsead.tasks.contract import Collator
from sparsead.tasks.splits import stratify

SCORING_EXAMPLES = 320
SCORING_BATCH_SIZE = 32


class SeededOrder(Sampler[int]):
    """A permutation per epoch, grouped by length, that depends only on the seed and the epoch.

    Methods compared under one seed therefore see the same batches, however many random numbers
    each of them draws. Grouping puts examples of similar length into one batch, which saves
    padding.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = list(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        draw = make_generator(self._seed, "order", self._epoch)
        grouped = get_length_grouped_indices(self._lengths, self._batch_size, generator=draw)
        whole = len(grouped) // self._batch_size
        batches = torch.tensor(grouped[: whole * self._batch_size]).view(whole, self._batch_size)
        shuffled = batches[torch.randperm(whole, generator=draw)]
        return iter(shuffled.flatten().tolist() + grouped[whole * self._batch_size :])


def scoring_sample(rows: Dataset, seed: int, count: int = SCORING_EXAMPLES) -> list[int]:
    """Choose the training examples for the pruning scores, stratified if `labels` are classes.

    Args:
        rows: the encoded training split.
        seed: the seed of the pruning (`seed_mask`).
        count: number of examples; if there are fewer, all are chosen.

    Returns:
        Indices of the examples. In every prefix of them the classes have about the same shares as
        in the whole split.
    """
    shuffled = torch.randperm(len(rows), generator=make_generator(seed, "scoring set")).tolist()
    labels: list[Any] = rows["labels"][:] if "labels" in rows.column_names else [None]
    if not isinstance(labels[0], int):
        return shuffled[:count]
    return stratify(shuffled, labels)[:count]


def scoring_batches(
    rows: Dataset, collator: Collator, model: PreTrainedModel
) -> Iterator[BatchEncoding]:
    """Yield batches of the rows, in their order, on the model's device.

    As in training, the collator is given the columns that the model takes, and may return a `dict`.
    """
    accepted = {*inspect.signature(type(model).forward).parameters, "label", "label_ids"}
    taken = rows.select_columns([name for name in rows.column_names if name in accepted])
    loader = DataLoader(cast(Any, taken), SCORING_BATCH_SIZE, collate_fn=collator)
    return (BatchEncoding(dict(batch)).to(model.device) for batch in loader)
