"""Batches without padding: the true tokens of all sequences, one sequence behind the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BatchEncoding

BUCKET = 32
"""Sequences whose lengths fall between the same multiples of this attend in one product."""

Collator = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Bucket:
    """Sequences of like length, padded to one length inside attention alone.

    Attributes:
        places: (sequences, length), where in the packed batch each token is; 0 for padding.
        mask: (sequences, 1, 1, length), True for true tokens; None where there is no padding.
    """

    places: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Packing:
    """Where the sequences of a packed batch are.

    Attributes:
        offsets: (sequences + 1,), the first token of each sequence, then the number of true tokens.
        longest: number of tokens of the longest sequence.
        buckets: all sequences, those of like length together.
        tokens: (all tokens,), the place of each packed token in the buckets laid end to end.
        sequences: (sequences,), the row of each sequence in the buckets laid end to end.
    """

    offsets: Tensor
    longest: int
    buckets: tuple[Bucket, ...]
    tokens: Tensor
    sequences: Tensor

    @property
    def firsts(self) -> Tensor:
        """The places of the sequences' first tokens, (sequences,)."""
        return self.offsets[:-1]

    def to(self, device: str | torch.device, non_blocking: bool = False) -> Packing:
        """Return the packing with its tensors on `device`, as `Tensor.to` does."""
        buckets = tuple(_moved(bucket, device, non_blocking) for bucket in self.buckets)
        return replace(_moved(self, device, non_blocking), buckets=buckets)


def packing(lengths: Sequence[int], total: int, round_to: int) -> Packing:
    """Lay out sequences of these lengths.

    Args:
        lengths: of the sequences, in the order in which they are packed.
        total: number of packed tokens; those behind the sequences belong to none.
        round_to: the buckets' lengths are multiples of it.
    """
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    by_length = sorted(range(len(lengths)), key=lambda index: lengths[index])
    groups = [list(g) for _, g in groupby(by_length, lambda i: -(-lengths[i] // BUCKET))]
    tokens = torch.zeros(total, dtype=torch.long)
    buckets, start = [], 0
    for group in groups:
        length = _up(max(lengths[index] for index in group), round_to)
        inside = torch.arange(length) < torch.tensor([lengths[i] for i in group])[:, None]
        places = (offsets[group, None] + torch.arange(length)).where(inside, 0)
        tokens[places[inside]] = start + inside.flatten().nonzero().flatten()
        buckets.append(Bucket(places, None if inside.all() else inside[:, None, None]))
        start += places.numel()
    rows = torch.tensor(by_length).argsort()
    return Packing(offsets, max(lengths), tuple(buckets), tokens, rows)


Layout = TypeVar("Layout", Bucket, Packing)


@dataclass(frozen=True)
class PackingCollator:
    """Packs the padded batches of another collator.

    Every tensor of the shape of `attention_mask` becomes (1, tokens); the mask itself becomes
    `position_ids` and `packing`. The other tensors come first, so that a batch's first dimension
    is its number of examples.

    Args:
        collator: gives a padded batch.
        padding_idx: the token whose position is not counted, as in RoBERTa, whose positions begin
            behind it; None where positions are counted from 0.
        round_to: tokens are added to the packed ones up to a multiple of this number. Nothing
            reads them; kernels that are prepared for each shape anew are so prepared less often.
        round_lengths_to: the same for the lengths inside attention.
    """

    collator: Collator
    padding_idx: int | None = None
    round_to: int = 1
    round_lengths_to: int = 1

    def __call__(self, examples: list[Any]) -> BatchEncoding:
        """Collate and pack the examples."""
        batch = dict(self.collator(examples))
        true = batch.pop("attention_mask").bool()
        lengths = true.sum(dim=1).tolist()
        total = _up(sum(lengths), self.round_to)
        by_token = {name: value for name, value in batch.items() if value.shape == true.shape}
        by_example = {name: value for name, value in batch.items() if name not in by_token}
        by_token["position_ids"] = self._positions(by_token["input_ids"], true)
        packed = {name: _packed(value, true, total) for name, value in by_token.items()}
        layout = packing(lengths, total, self.round_lengths_to)
        return BatchEncoding(by_example | packed | {"packing": layout})

    def _positions(self, input_ids: Tensor, true: Tensor) -> Tensor:
        if self.padding_idx is None:
            return true.cumsum(dim=1) - 1
        counted = input_ids.ne(self.padding_idx)
        return counted.cumsum(dim=1) * counted + self.padding_idx


def _packed(values: Tensor, true: Tensor, total: int) -> Tensor:
    chosen = values[true]
    return F.pad(chosen, (0, total - len(chosen)))[None]


def _moved(layout: Layout, device: str | torch.device, non_blocking: bool) -> Layout:
    values = {field.name: getattr(layout, field.name) for field in fields(layout)}
    moved: dict[str, Any] = {
        name: value.to(device, non_blocking=non_blocking)
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    return replace(layout, **moved)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
