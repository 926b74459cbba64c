"""How much of the loss each batch stands for, and batches taken apart into their examples."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from transformers.trainer_pt_utils import find_batch_size

from sparsead.errors import PruningError

IGNORED_LABEL = -100
"""The label of a token that the loss does not count, as in transformers."""


def count_terms(batch: Any) -> int:
    """Return the number of terms that a batch's loss averages; 1 if its size cannot be told.

    They are its target tokens if its labels are those of tokens, and else its rows.
    """
    labels = batch.get("labels") if isinstance(batch, Mapping) else None
    if isinstance(labels, Tensor) and labels.dim() == 2 and not labels.is_floating_point():
        return int((labels != IGNORED_LABEL).sum())
    return find_batch_size(batch) or 1


@runtime_checkable
class DescribesExamples(Protocol):
    """A part of a batch that is no tensor with one row an example, and can be taken apart too."""

    def example(self, index: int) -> Any:
        """Return what describes one example alone."""


def split_examples(batch: Any) -> list[Any]:
    """Return batches of one example each, of the same form as `batch`.

    Tensors that have one row for each example are cut; what does not depend on the examples, such
    as a flag, is in every one of them.

    Args:
        batch: a tensor, or a mapping or sequence that contains tensors.

    Raises:
        PruningError: the number of examples cannot be told.
    """
    size = find_batch_size(batch)
    if size is None:
        raise PruningError(
            f"batches: a {type(batch).__name__} cannot be taken apart into examples, whose "
            "gradients pruner=fisher needs; give tensors, or a mapping or list of tensors"
        )
    return [_part(batch, index, size) for index in range(size)]


def _part(value: Any, index: int, size: int) -> Any:
    if isinstance(value, DescribesExamples):
        return value.example(index)
    if isinstance(value, Tensor):
        return value[index : index + 1] if value.dim() and len(value) == size else value
    if isinstance(value, Mapping):
        parts = {key: _part(part, index, size) for key, part in value.items()}
        return type(value)(parts) if isinstance(value, UserDict) else parts
    if isinstance(value, Sequence) and not isinstance(value, str):
        make = getattr(type(value), "_make", list)  # of a named tuple
        return make([_part(part, index, size) for part in value])
    return value
