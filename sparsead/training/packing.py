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
"""Sequences at most this many tokens longer than the shortest attend in one product with it."""

RELATIVE_SLACK = 1.25
"""Or at most this many times as long."""


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
class Rows:
    """Which row stands where, if each token of the packed batch has one row for each head.

    The buckets are laid end to end, each as (sequences, heads, length).

    Attributes:
        places: for each place in the buckets, the row that stands there; for padding, of token 0.
        inverse: (true tokens · heads,), where in the buckets each row stands.
        padding: where in the buckets there is padding.
    """

    places: Tensor
    inverse: Tensor
    padding: Tensor


@dataclass(frozen=True)
class Packing:
    """Where the sequences of a batch are when it is packed.

    Attributes:
        true: (sequences, padded length), True for the tokens that are packed.
        packed: (true tokens,), where in the flattened padded batch each packed token is.
        unpacked: as `true`, the place of each token in the packed batch; 0 for padding.
        total: number of packed tokens; those behind the sequences belong to none.
        true_tokens: number of those that belong to a sequence.
        offsets: (sequences + 1,), the first token of each sequence, then the number of true tokens;
            32 bits each, as kernels for sequences of varied length take them.
        longest: number of tokens of the longest sequence.
        buckets: all sequences, those of like length together.
        sequences: (sequences,), the row of each sequence in the buckets laid end to end.
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
        """The places of the sequences' first tokens, (sequences,)."""
        return self.offsets[:-1]

    def rows(self, heads: int) -> Rows:
        """Return the rows of queries, keys or values with so many heads, laid out once."""
        if heads not in self._rows:
            self._rows[heads] = _rows(self.buckets, heads, self.true_tokens * heads)
        return self._rows[heads]

    def to(self, device: str | torch.device, non_blocking: bool = False) -> Packing:
        """Return the packing with its tensors on `device`, as `Tensor.to` does."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Packing:
        """Return the packing with its tensors where a GPU reads them without waiting."""
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
    """Lay out the sequences of a padded batch.

    Args:
        true: (sequences, length), True for the tokens that are not padding.
        round_to: the number of packed tokens is a multiple of it.
        round_lengths_to: the same for the buckets' lengths.
        most_pairs: sequences share a bucket up to so many pairs of tokens, padding included; one
            that has more is alone in its bucket.
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
    """Lay out `count` true rows; the count is given because reading it from a GPU would wait."""
    head = torch.arange(heads, device=buckets[0].places.device)[:, None]
    places = torch.cat([(b.places[:, None] * heads + head).flatten() for b in buckets])
    true = torch.cat([_true(bucket).expand(-1, heads, -1).flatten() for bucket in buckets])
    rows = places.where(true, count + (~true).cumsum(0) - 1)  # padding behind all true ones
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
    """Return the sequences' numbers from short to long, those that share a bucket together."""
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
    """Adds to the padded batches of another collator what a model needs to pack them.

    That is `position_ids`, which the model would count itself if it saw the padding, and `packing`.

    Args:
        collator: gives a padded batch.
        padding_idx: the token whose position is not counted, as in RoBERTa, whose positions begin
            behind it; None where positions are counted from 0.
        round_to: unused tokens are appended up to a multiple of this number, so that kernels and
            memory for a shape are reused.
        round_lengths_to: the same for the lengths inside attention.
        most_pairs: pairs of tokens whose attention is computed at once; where its weights are
            written out, the processor's caches should hold them.
    """

    collator: Collator
    padding_idx: int | None = None
    round_to: int = 1
    round_lengths_to: int = 1
    most_pairs: float = math.inf

    def __call__(self, examples: list[Any]) -> BatchEncoding:
        """Collate the examples and say where they are when they are packed."""
        batch = dict(self.collator(examples))
        true = batch["attention_mask"].bool()
        layout = build_packing(true, self.round_to, self.round_lengths_to, self.most_pairs)
        positions = self._positions(batch["input_ids"])
        return BatchEncoding(batch | {"position_ids": positions, "packing": layout})

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
