"""The parameters that `prune` is given by name; those that cannot be pruned are refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import combinations
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from sparsead.errors import PruningError
from sparsead.pruning.enforcement import apply_guards, count_removed

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def find_parameters(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Parameter]:
    """Return the named parameters of a model, in the order of the names.

    Raises:
        PruningError: the model has no such parameter, or it cannot be pruned: it is frozen, without
            values or empty, is not of floating-point numbers, has sparse gradients, shares weights
            with another one of the names, or was pruned before.
    """
    if not isinstance(model, nn.Module):
        raise PruningError(f"model: must be a torch module, not {type(model).__name__}")
    apply_guards(model)
    every = dict(model.named_parameters(remove_duplicate=False))
    wanted = _names(names)
    for name in wanted:
        if name not in every:
            near = get_close_matches(name, every, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise PruningError(f"tensors={name}: the model has no such parameter{hint}")
    found = {name: every[name] for name in wanted}
    masked = dict(model.named_buffers())
    for name, parameter in found.items():
        reason = (
            _why_not(parameter)
            or _why_not_sparse(model, parameter)
            or _why_not_again(name, parameter, masked)
        )
        if reason:
            raise PruningError(f"{name}: {reason}")
    _refuse_shared(found)
    return found


def _names(names: Any) -> list[str]:
    if isinstance(names, str):
        raise PruningError(f"tensors={names}: must be names, as in tensors=[{names!r}]")
    given: list[Any] = [*names] if isinstance(names, Iterable) else [names]
    wrong = [type(each).__name__ for each in given if not isinstance(each, str)]
    if wrong:
        raise PruningError(
            f"tensors: must be names, not {wrong[0]}, as in "
            "[name for name, _ in model.named_parameters()]"
        )
    return given


def _why_not(parameter: nn.Parameter) -> str | None:
    """Return why a parameter cannot be pruned, or None if it can."""
    if isinstance(parameter, UninitializedParameter):
        return "has no shape yet; give the model one batch before it is pruned"
    if parameter.is_meta:
        return "is on the meta device, without values; load the model's weights first"
    if not parameter.is_floating_point():
        return f"holds {str(parameter.dtype).removeprefix('torch.')}, not floating-point numbers"
    if parameter.layout != torch.strided:
        return f"is stored as {parameter.layout}; only dense tensors are pruned"
    if parameter.is_inference():
        return "was created in inference mode, so that nothing can train it"
    if not parameter.numel():
        return "is empty: it has no weights"
    if not parameter.requires_grad:
        return "is frozen; only what trains can be pruned"
    if _extent(parameter) < parameter.numel():
        return "is expanded: several of its weights are one in memory"
    return None


def _why_not_sparse(model: nn.Module, parameter: nn.Parameter) -> str | None:
    """Return why a parameter with sparse gradients cannot be pruned, or None if it has none."""
    embeddings = (each for each in model.modules() if isinstance(each, _EMBEDDINGS))
    if any(each.sparse and each.weight is parameter for each in embeddings):
        return "has sparse gradients, which a mask cannot read; build its module with sparse=False"
    return None


def _why_not_again(
    name: str, parameter: nn.Parameter, buffers: Mapping[str, torch.Tensor]
) -> str | None:
    """Return why a parameter that was pruned before cannot be, or None if it was not.

    The count would leave out the weights that are removed already. A parameter `w_orig` beside a
    buffer `w_mask` is one that torch.nn.utils.prune has pruned.
    """
    removed = count_removed(parameter)
    if name.endswith("_orig"):
        mask = buffers.get(f"{name.removesuffix('_orig')}_mask")
        removed += 0 if mask is None else int((mask == 0).sum())
    if not removed:
        return None
    return (
        f"was pruned before, {removed} of its {parameter.numel()} weights are removed; prune an "
        "unpruned model to the final sparsity at once"
    )


def _refuse_shared(parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuse two names of one parameter, or of two with a common piece of memory.

    The budget would count their weights twice, and each would have a mask of its own.
    """
    by_storage: dict[int, list[str]] = {}
    for name, parameter in parameters.items():
        by_storage.setdefault(parameter.untyped_storage().data_ptr(), []).append(name)
    for names in by_storage.values():
        for first, second in combinations(names, 2):
            if _overlap(parameters[first], parameters[second]):
                raise PruningError(
                    f"tensors={second}: has the same weights as {first} (they are tied); name one "
                    "of the two"
                )


def _overlap(first: nn.Parameter, second: nn.Parameter) -> bool:
    begins = [each.storage_offset() for each in (first, second)]
    return begins[0] < begins[1] + _extent(second) and begins[1] < begins[0] + _extent(first)


def _extent(tensor: torch.Tensor) -> int:
    """Return how many numbers of its storage a tensor spans, from its first to its last."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return 1 + sum((size - 1) * stride for size, stride in steps)
