"""Sequences of varied lengths, as masks of the tokens that are not padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch

LENGTHS = (7, 40, 3, 33, 7, 64, 65, 12)


def true_tokens(lengths: Sequence[int]) -> torch.Tensor:
    """Return (sequences, longest length), True for a sequence's tokens and False for padding."""
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
