"""Scoring without side effects on the model, and the check of scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparsead.errors import PruningError
from sparsead.errors.display import pluralize
from sparsead.pruning.contract import ScalesParameters, Scores
from sparsead.seeding import make_generator

PROBE_STD = 0.02


class ZeroTensorsError(PruningError):
    """Tensors that are all zero have scores that are all 0, and say nothing."""


@contextmanager
def undisturbed(model: nn.Module, tensors: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Score in eval mode, without autocast, with gradients for `tensors` alone; then restore all.

    Modes, requires_grad, `.grad` and the random states are restored at the end. Our own pruners
    leave `.grad` alone, because their scores come from `torch.autograd.grad`.
    """
    modes = {module: module.training for module in model.modules()}
    required = {parameter: parameter.requires_grad for parameter in model.parameters()}
    gradients = {parameter: parameter.grad for parameter in required}
    scored = {id(parameter) for parameter in tensors.values()}
    device = next(iter(tensors.values())).device
    forked = [device] if device.type == "cuda" else []
    try:
        model.eval()
        for parameter in required:
            parameter.requires_grad_(id(parameter) in scored)
        with (
            torch.random.fork_rng(devices=forked),
            torch.autocast(device.type, enabled=False),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, flag in required.items():
            parameter.requires_grad_(flag)
            parameter.grad = gradients[parameter]


@contextmanager
def rescaled(model: nn.Module) -> Iterator[None]:
    """Let every module that scales its parameters store them as they act; then restore all.

    A module that computes with s · p stores s · p in the meantime, and its scale is 1. The model
    computes the same, but for rounding. What a pruner reads as weight, gradient or curvature is
    then that of s · p, so that s changes no score. At the end the parameters have the same bits as
    before.
    """
    scales = {
        module: module.parameter_scale
        for module in model.modules()
        if isinstance(module, ScalesParameters) and module.parameter_scale != 1
    }
    scaled = [(p, scale) for module, scale in scales.items() for p in module.parameters(False)]
    stored = [(parameter, parameter.detach().clone()) for parameter, _ in scaled]
    try:
        with torch.no_grad():
            for parameter, scale in scaled:
                parameter.mul_(scale)
        for module in scales:
            module.parameter_scale = 1.0
        yield
    finally:
        for module, scale in scales.items():
            module.parameter_scale = scale
        with torch.no_grad():
            for parameter, value in stored:
                parameter.copy_(value)


@contextmanager
def keep_only(tensors: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Set the weights that the masks remove to 0; at the end restore them bit for bit.

    Args:
        tensors: the parameters by name.
        masks: by the same names, True where a weight is kept.
    """
    originals = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    try:
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.masked_fill_(~masks[name], 0.0)
        yield
    finally:
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(originals[name])


@contextmanager
def probe_zero_tensors(tensors: Mapping[str, nn.Parameter], seed: int) -> Iterator[None]:
    """Fill tensors that are all zero with draws from N(0, 0.02²); restore the zeros at the end.

    Scores that multiply by the weight are all 0 in such a tensor, as in a zero-initialised
    up-projection. The draws have their own generator.
    """
    zero = {name: tensor for name, tensor in tensors.items() if not tensor.any()}
    with torch.no_grad():
        for name, tensor in zero.items():
            draw = torch.randn(tensor.shape, generator=make_generator(seed, "probe", name))
            tensor.copy_(draw * PROBE_STD)
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor in zero.values():
                tensor.zero_()


def _is_ordered(score: Tensor) -> bool:
    """Tell whether a tensor has values that can be compared; those of 8 bits cannot be."""
    of_eight_bits = score.is_floating_point() and score.element_size() < 2
    return _is_stored(score) and not score.is_complex() and not of_eight_bits


@contextmanager
def refused_changes(model: nn.Module) -> Iterator[None]:
    """Restore the model's parameters after the block, and refuse that it has changed one.

    Buffers are not compared: a model's own forward pass may write to them.

    Raises:
        PruningError: the block has changed a parameter, and has raised no other error.
    """
    tensors = {n: p.detach() for n, p in model.named_parameters() if _is_stored(p)}
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    changed: list[str] = []
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in tensors.items():
                if not torch.equal(_bits(tensor), _bits(before[name])):
                    changed.append(name)
                    tensor.copy_(before[name])
    if changed:
        raise PruningError(
            f"the pruner has changed {changed[0]}; it must return scores and leave the model as it "
            "is (compute with copies, as by tensor.detach().clone())"
        )


def _is_stored(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta


def _bits(tensor: Tensor) -> Tensor:
    """Return a tensor whose equality is that of its bits, so that nan equals nan."""
    return tensor.contiguous().flatten().view(torch.uint8)


def check_finite(scores: Scores) -> None:
    """Refuse scores that cannot be ordered.

    Raises:
        PruningError: one of them is nan or infinite.
    """
    for name, score in scores.items():
        if not score.isfinite().all():
            raise PruningError(f"{name}: its scores are not all finite, so nothing can be removed")


def check_scores(scores: Scores, parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuse scores that do not give an order of all weights.

    Raises:
        ZeroTensorsError: the scores of a tensor that is all 0 are all 0.
        PruningError: scores are missing, have another shape, are not finite, or are all 0.
    """
    if not isinstance(scores, Mapping):
        raise PruningError(f"the pruner must return scores by name, not a {type(scores).__name__}")
    for name, score in scores.items():
        if not isinstance(score, Tensor) or not _is_ordered(score):
            raise PruningError(f"{name}: its scores must be real numbers in a dense tensor")
    shapes = {name: tuple(score.shape) for name, score in scores.items()}
    if shapes != {name: tuple(parameter.shape) for name, parameter in parameters.items()}:
        raise PruningError("the pruner did not score every prunable tensor in its own shape")
    check_finite(scores)
    blind = [name for name, score in scores.items() if not (score.any() or parameters[name].any())]
    if blind:
        raise ZeroTensorsError(
            "zero at initialisation, with scores that are all 0 and say nothing: "
            f"{pluralize(len(blind), 'tensor')}, such as {blind[0]}; use pruner.probe=true to "
            "score at N(0, 0.02^2)"
        )
    if not any(score.any() for score in scores.values()):
        raise PruningError("all scores are 0, so they say nothing about what to remove")
