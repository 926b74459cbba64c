"""What a pruner is given, and the gradients it may ask for without leaving a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import torch
from torch import Tensor, nn
from transformers.trainer_pt_utils import find_batch_size

from sparsead.errors import PruningError
from sparsead.seeding import generator

Scores = dict[str, Tensor]
Loss = Callable[[nn.Module, Any], Tensor]

PROBE_STD = 0.02


class Batches(Sequence[Any]):
    """Batches that are made when a pruner first asks for them; `read` tells whether one did."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._source = batches

    @cached_property
    def _made(self) -> list[Any]:
        return list(self._source)

    @property
    def read(self) -> bool:
        """Whether the batches were made."""
        return "_made" in vars(self)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        """Return one batch, or some."""
        return self._made[index]

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._made)


@dataclass(frozen=True)
class Scoring:
    """The one argument of every pruner, which returns a score per weight: higher is kept.

    Attributes:
        model: the network, in eval mode.
        tensors: the prunable parameters by name; scores have their shapes.
        batches: the scoring set, on the model's device.
        loss: maps (model, batch) to the batch's mean loss, a scalar.
        sparsity: share of all the weights that will be removed.
        seed: for `sparsead.seeding.generator(seed, …, tensor name)`.
    """

    model: nn.Module
    tensors: Mapping[str, nn.Parameter]
    batches: Sequence[Any]
    loss: Loss
    sparsity: float
    seed: int

    def mean_gradients(self) -> Scores:
        """Return ∂L/∂w of the loss averaged over the examples of the scoring set, with its sign.

        A batch counts by its number of examples, so that the batch size changes nothing.
        """
        parameters = list(self.tensors.values())
        totals: list[Tensor] = []
        for batch, weight in self.weighted_batches():
            loss = self.loss(self.model, batch) * weight
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            totals = [*map(torch.add, totals, gradients)] or [*gradients]
        return dict(zip(self.tensors, totals, strict=True))

    def weighted_batches(self) -> list[tuple[Any, float]]:
        """Return each batch with its share of the examples of the scoring set.

        Raises:
            PruningError: there are no batches.
        """
        if not self.batches:
            raise PruningError("this pruner needs batches to score on")
        sizes = [find_batch_size(batch) or 1 for batch in self.batches]
        return [(batch, size / sum(sizes)) for batch, size in zip(self.batches, sizes, strict=True)]


@contextmanager
def undisturbed(model: nn.Module, tensors: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Score in eval mode, without autocast, with gradients for `tensors` alone; put all back.

    Modes, requires_grad and the random states of every device are as before afterwards;
    `.grad` is never touched, because scores come from `torch.autograd.grad`.
    """
    modes = {module: module.training for module in model.modules()}
    required = {parameter: parameter.requires_grad for parameter in model.parameters()}
    scored = {id(parameter) for parameter in tensors.values()}
    device = next(iter(tensors.values())).device
    forked = [device] if device.type == "cuda" else []
    try:
        model.eval()
        for parameter in required:
            parameter.requires_grad_(id(parameter) in scored)
        with torch.random.fork_rng(devices=forked), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, flag in required.items():
            parameter.requires_grad_(flag)


@contextmanager
def probed(tensors: Mapping[str, nn.Parameter], seed: int) -> Iterator[None]:
    """Fill the tensors that are wholly zero with N(0, 0.02²); put the zeros back at the end.

    Only there do scores that multiply by the weight mean anything (design: zero-initialised
    up-projections). The draw has a generator of its own.
    """
    zero = {name: tensor for name, tensor in tensors.items() if not tensor.any()}
    with torch.no_grad():
        for name, tensor in zero.items():
            draw = torch.randn(tensor.shape, generator=generator(seed, "probe", name))
            tensor.copy_(draw * PROBE_STD)
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor in zero.values():
                tensor.zero_()


def check_scores(scores: Scores, parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuse scores that no order of all the weights can be made of.

    Raises:
        PruningError: scores are not finite, are all 0, or are all 0 in a tensor that is all 0.
    """
    shapes = {name: tuple(score.shape) for name, score in scores.items()}
    if shapes != {name: tuple(parameter.shape) for name, parameter in parameters.items()}:
        raise PruningError("the pruner did not score every prunable tensor in its own shape")
    for name, score in scores.items():
        if not score.isfinite().all():
            raise PruningError(f"{name}: its scores are not all finite, so nothing can be removed")
    blind = [name for name, score in scores.items() if not (score.any() or parameters[name].any())]
    if blind:
        raise PruningError(
            f"{len(blind)} tensors ({blind[0]}, …) are zero at initialisation, so their scores "
            "are all 0 and say nothing; use adapter.init=bert, or pruner.probe=true to score "
            "them at N(0, 0.02^2)"
        )
    if not any(score.any() for score in scores.values()):
        raise PruningError("all scores are 0, so they say nothing about what to remove")
