"""Packed batches: the tokens of all sequences, concatenated without padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import BatchEncoding

from sparsead.tasks.contract import Collator

SLACK = 16
"""A bucket takes sequences up to this many tokens longer than its shortest sequence."""

RELATIVE_SLACK = 1.25
"""It also takes sequences up to this many times as long as its shortest sequence."""


@dataclass(frozen=True)
class Bucket:
    """Sequences of similar length, which are padded to one length inside attention only.

    Attributes:
        places: (sequences, length), the index of each token in the packed batch; 0 for padding.
        mask: (sequences, 1, 1, length), True for true tokens; None if there is no padding.
    """

    places: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Rows:
    """The order of rows in the buckets, where a row is one head of one token.

    In the packed batch the rows are ordered by token, then by head. In the buckets, which are
    concatenated, they have the shape (sequences, heads, length).

    Attributes:
        places: (rows of the buckets,), the index in the packed batch of the row that belongs to
            each place of the buckets; padding has a row of token 0.
        inverse: (true tokens · heads,), the place in the buckets of each row of the packed batch.
        padding: (rows of padding,), the places in the buckets that are padding.
    """

    places: Tensor
    inverse: Tensor
    padding: Tensor


@dataclass(frozen=True)
class Packing:
    """The positions of the sequences in a packed batch.

    Attributes:
        true: (sequences, padded length), True for the tokens that are packed.
        packed: (true tokens,), the index of each packed token in the flattened padded batch.
        unpacked: (sequences, padded length), the index of each token in the packed batch; 0 for
            padding.
        total: length of the packed batch; unused tokens may follow the true ones.
        true_tokens: number of tokens that belong to a sequence.
        offsets: (sequences + 1,), the index of each sequence's first token, then the number of
            true tokens; int32, as kernels for sequences of different lengths require.
        longest: number of tokens of the longest sequence.
        buckets: all sequences, grouped by similar length.
        sequences: (sequences,), the index of each sequence in the concatenated buckets.
    """

    true: Tensor
    packed: Tensor
    unpacked: Tensor
    total: int
    true_tokens: int
    offsets: Tensor
    longest: int
    buckets: tuple[Bucket, ...]
    sequences: Tensor
    _rows: dict[int, Rows] = field(default_factory=dict)

    @property
    def firsts(self) -> Tensor:
        """(sequences,), the index of each sequence's first token in the packed batch."""
        return self.offsets[:-1]

    def rows(self, heads: int) -> Rows:
        """Return the order of the rows of queries, keys or values with this number of heads."""
        if heads not in self._rows:
            self._rows[heads] = _rows(self.buckets, heads, self.true_tokens * heads)
        return self._rows[heads]

    def example(self, index: int) -> Packing:
        """Return the packing of one sequence alone, whose padded batch has the same length."""
        return build_packing(self.true[index : index + 1].cpu()).to(self.true.device)

    def to(self, device: str | torch.device, non_blocking: bool = False) -> Packing:
        """Return the packing with its tensors on `device`; see `Tensor.to`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Packing:
        """Return the packing with its tensors in pinned memory; see `Tensor.pin_memory`."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Packing:
        buckets = tuple(_changed(bucket, change) for bucket in self.buckets)
        return replace(_changed(self, change), buckets=buckets, _rows={})


def build_packing(
    true: Tensor,
    round_to: int = 1,
    round_lengths_to: int = 1,
    most_pairs: float = math.inf,
) -> Packing:
    """Return the packing of a padded batch.

    Args:
        true: (sequences, length), True for the tokens that are not padding.
        round_to: the length of the packed batch is rounded up to a multiple of this number.
        round_lengths_to: the lengths of the buckets are rounded up to a multiple of this number.
        most_pairs: the greatest number of pairs of tokens in a bucket, padding included; a sequence
            that exceeds it is alone in its bucket.
    """
    lengths: list[int] = true.sum(dim=1).tolist()
    offsets = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32)
    unpacked = (true.flatten().cumsum(0) - 1).view(true.shape).where(true, 0)
    buckets = []
    groups = _like_lengths(lengths, round_lengths_to, most_pairs)
    for group in groups:
        length = _up(lengths[group[-1]], round_lengths_to)
        inside = torch.arange(length) < torch.tensor([lengths[i] for i in group])[:, None]
        places = (offsets[group, None] + torch.arange(length)).where(inside, 0)
        buckets.append(Bucket(places, None if inside.all() else inside[:, None, None]))
    sequences = torch.tensor([index for group in groups for index in group]).argsort()
    true_tokens = sum(lengths)
    total = _up(true_tokens, round_to)
    return Packing(
        true=true,
        packed=true.flatten().nonzero()[:, 0],
        unpacked=unpacked,
        total=total,
        true_tokens=true_tokens,
        offsets=offsets,
        longest=max(lengths),
        buckets=tuple(buckets),
        sequences=sequences,
    )


def _rows(buckets: Sequence[Bucket], heads: int, count: int) -> Rows:
    """Return the order of rows; `count` true ones: reading the number from a GPU would wait."""
    head = torch.arange(heads, device=buckets[0].places.device)[:, None]
    places = torch.cat([(b.places[:, None] * heads + head).flatten() for b in buckets])
    true = torch.cat([_true(bucket).expand(-1, heads, -1).flatten() for bucket in buckets])
    rows = places.where(true, count + (~true).cumsum(0) - 1)  # padding follows all true rows
    order = torch.empty_like(rows).scatter_(0, rows, torch.arange(len(rows), device=rows.device))
    return Rows(places, order[:count], order[count:])


def _true(bucket: Bucket) -> Tensor:
    """Return (sequences, 1, length), True for true tokens."""
    if bucket.mask is None:
        return torch.ones_like(bucket.places, dtype=torch.bool)[:, None]
    return bucket.mask[:, 0]


def _like_lengths(
    lengths: Sequence[int], round_lengths_to: int, most_pairs: float
) -> list[list[int]]:
    """Return the indices of the sequences of each bucket, from short to long."""
    groups: list[list[int]] = []
    longest = 0.0
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        length = lengths[index]
        pairs = _up(length, round_lengths_to) ** 2
        if length > longest or (len(groups[-1]) + 1) * pairs > most_pairs:
            groups.append([])
            longest = max(length + SLACK, length * RELATIVE_SLACK)
        groups[-1].append(index)
    return groups


Layout = TypeVar("Layout", Bucket, Packing)


@dataclass(frozen=True)
class PackingCollator:
    """Adds `packing` and `position_ids` to the padded batches of another collator.

    The positions are added, if the collator gives none, because the model cannot derive them from
    a packed batch. A batch without `attention_mask` has no padding, as in transformers. A batch
    that is not of token ids, or whose mask is for each pair of tokens, is left padded.

    Args:
        collator: returns a padded batch.
        padding_idx: the id of the padding token if positions are counted as in RoBERTa, where they
            begin at `padding_idx + 1` and padding is not counted; None if they begin at 0.
        round_to: unused tokens are appended up to a multiple of this number, so that kernels and
            buffers of that shape are reused.
        round_lengths_to: the same for the sequences' lengths inside attention.
        most_pairs: number of pairs of tokens whose attention is computed at once; if the attention
            weights are stored, they should fit into the processor's cache.
    """

    collator: Collator
    padding_idx: int | None = None
    round_to: int = 1
    round_lengths_to: int = 1
    most_pairs: float = math.inf

    def __call__(self, examples: list[Any]) -> BatchEncoding:
        """Return the padded batch of the examples, with its packing and its positions."""
        batch = dict(self.collator(examples))
        ids = batch.get("input_ids")
        if ids is None:
            return BatchEncoding(batch)
        mask = batch.get("attention_mask")
        true = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        if true.shape != ids.shape:
            return BatchEncoding(batch)
        layout = build_packing(true, self.round_to, self.round_lengths_to, self.most_pairs)
        return BatchEncoding({"position_ids": self._positions(ids), **batch, "packing": layout})

    def _positions(self, input_ids: Tensor) -> Tensor:
        if self.padding_idx is None:
            return torch.arange(input_ids.shape[1]).repeat(len(input_ids), 1)
        counted = input_ids.ne(self.padding_idx)
        return counted.cumsum(dim=1) * counted + self.padding_idx


def _changed(layout: Layout, change: Callable[[Tensor], Tensor]) -> Layout:
    values = {field.name: getattr(layout, field.name) for field in fields(layout)}
    changed: dict[str, Any] = {
        name: change(value) for name, value in values.items() if isinstance(value, Tensor)
    }
    return replace(layout, **changed)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
