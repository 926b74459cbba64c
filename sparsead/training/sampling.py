"""The order of the training examples, and the sample that pruners score on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader, Sampler
from transformers import BatchEncoding, PreTrainedTokenizerBase

from sparsead.seeding import generator

SCORING_EXAMPLES = 320
SCORING_BATCH_SIZE = 32


class SeededOrder(Sampler[int]):
    """A permutation per epoch that depends on the seed and the epoch alone.

    Methods compared under one seed therefore see the same batches, however many random numbers
    each of them draws.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration is of."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self._size, generator=generator(self._seed, "order", self._epoch))
        return iter(order.tolist())


def scoring_sample(rows: Dataset, seed: int, count: int = SCORING_EXAMPLES) -> list[int]:
    """Choose training examples to score on, stratified where `labels` are classes.

    Args:
        rows: the encoded training split.
        seed: of the choice.
        count: number to choose; all are taken where there are fewer.

    Returns:
        Indices in a seeded order in which every prefix has about the classes' shares.
    """
    shuffled = torch.randperm(len(rows), generator=generator(seed, "scoring set")).tolist()
    labels = rows["labels"][:]
    if not isinstance(labels[0], int):
        return shuffled[:count]
    members: dict[int, list[int]] = defaultdict(list)
    for index in shuffled:
        members[labels[index]].append(index)
    places = [
        ((rank + 0.5) / len(indices), index)
        for indices in members.values()
        for rank, index in enumerate(indices)
    ]
    return [index for _, index in sorted(places)[:count]]


def scoring_batches(
    rows: Dataset, task: Any, tokenizer: PreTrainedTokenizerBase, device: str
) -> Iterator[BatchEncoding]:
    """Yield the rows as the task's batches, in order, on the device."""
    loader = DataLoader(rows, SCORING_BATCH_SIZE, collate_fn=task.collator(tokenizer))
    return (batch.to(device) for batch in loader)
