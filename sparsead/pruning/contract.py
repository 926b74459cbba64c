"""What a pruner is, as types: a function that scores each weight; high scores are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, overload, runtime_checkable

import torch
from torch import Tensor, nn

from sparsead.config.registry import Registry
from sparsead.errors import PruningError
from sparsead.pruning.examples import count_terms

Scores = dict[str, Tensor]
"""By the name of each prunable tensor, a tensor of finite scores of the same shape."""

Loss = Callable[[nn.Module, Any], Tensor]
"""Maps a model and a batch to the batch's mean loss, a scalar."""


class Batches(Sequence[Any]):
    """Batches that are created when a pruner first reads them; `read` tells whether one did."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._source = batches

    @cached_property
    def _made(self) -> list[Any]:
        return list(self._source)

    @property
    def read(self) -> bool:
        """Whether a pruner has read the batches."""
        return "_made" in vars(self)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        """Return one batch, or a slice of the batches."""
        return self._made[index]

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._made)


@dataclass(frozen=True)
class Scoring:
    """The only positional argument of every pruner, which returns a score for each weight.

    Attributes:
        model: the network, in eval mode.
        tensors: the prunable parameters by name; scores have their shapes.
        batches: the scoring set, on the model's device.
        loss: maps (model, batch) to the batch's mean loss, a scalar.
        sparsity: share of all the weights that will be removed.
        seed: for `sparsead.seeding.make_generator(seed, …, tensor name)`.
        scope: "global" or "tensor": whether the scores are compared over all tensors or in each. A
            pruner that scores in rounds compares them in this way in every round.
        minimum_kept: share of each tensor that is kept whatever its scores, also in every round.
    """

    model: nn.Module
    tensors: Mapping[str, nn.Parameter]
    batches: Sequence[Any]
    loss: Loss
    sparsity: float
    seed: int
    scope: str = "global"
    minimum_kept: float = 0.0

    def mean_gradients(self) -> Scores:
        """Return the signed gradient ∂L/∂w of the mean loss over the scoring set.

        A batch is weighted by what its loss is a mean over (see `weighted_batches`), so that the
        batch size does not matter. Gradients of a model in half precision are returned in fp32, in
        which their products with weights do not vanish.
        """
        parameters = list(self.tensors.values())
        totals: list[Tensor] = []
        for batch, weight in self.weighted_batches():
            loss = self.loss(self.model, batch) * weight
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            if not totals:
                totals = [at_least_fp32(gradient) for gradient in gradients]
                continue
            for place, gradient in enumerate(gradients):  # one after the other, to save memory
                totals[place] = totals[place] + gradient
        return dict(zip(self.tensors, totals, strict=True))

    def weighted_batches(self) -> list[tuple[Any, float]]:
        """Return each batch with its share of the scoring set's examples or target tokens.

        Tokens count where the labels are those of tokens, because the loss is their mean then.

        Raises:
            PruningError: there are no batches.
        """
        if not self.batches:
            raise PruningError("this pruner needs batches to score on")
        sizes = [count_terms(batch) for batch in self.batches]
        if not sum(sizes):
            raise PruningError("the batches to score on have no labels: all of them are -100")
        return [(batch, size / sum(sizes)) for batch, size in zip(self.batches, sizes, strict=True)]


def at_least_fp32(tensor: Tensor) -> Tensor:
    """Return a tensor of half precision in fp32, and any other as it is."""
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor


@runtime_checkable
class ScalesParameters(Protocol):
    """A module that computes with `parameter_scale` times each of its own parameters.

    The factor changes how fast a parameter p learns, not what the module can compute. Pruners
    therefore score what acts in the module, `parameter_scale` · p.
    """

    parameter_scale: float


Pruner = Callable[[Scoring], Scores]
"""Scores the weights; those with the lowest scores are removed. Its options are already bound.

It reads data only from `Scoring.batches`, and draws random numbers only from generators made from
the seed. It raises a ConfigError for an option out of range, and a PruningError if it cannot score.
"""

PRUNERS: Registry[Scores] = Registry("pruner", "sparsead.pruning")
"""Functions that take a Scoring, and their own options as keyword arguments, and return Scores."""
