"""How removed weights stay exactly zero in a module, whatever happens to it afterwards.

Three mechanisms work together, because each of them can be lost:

- A hook on the parameter masks its gradient. A weight that is 0 and whose gradient is always 0
  stays 0 under every optimiser that updates each weight by its own gradient. The hook belongs to
  the parameter object: a copy, a file or an assigned state dictionary brings another, without it.
- A hook on every optimiser's step sets removed weights to 0 after the step, since moments from
  before pruning, or an optimiser that mixes the gradients of a matrix, such as Muon, move them.
- A guard on the modules, which copies and files keep, does both for whatever parameter it finds
  there before each forward pass, before a state dictionary is made and after one is loaded.

What they do not cover: a change of `parameter.data` between the forward pass and the moment where
somebody reads the weights, by other code than an optimiser of torch.optim; and what replays
recorded operations without Python, such as a captured CUDA graph of the step. Sharded
parameters (FSDP) are not supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from sparsead.errors import PruningError

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By the size of a number in bytes, the integers of that size."""


def keep_removed_at_zero(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the removed weights of a model to 0, and keep them there.

    Masks that were given for the same parameters before are replaced.

    Args:
        model: any module.
        masks: by parameter name, True where the weight is kept.

    Raises:
        PruningError: the model has no such parameter, or one of another shape; it is unchanged.
    """
    for name, mask in masks.items():
        _check_fits(model, name, mask)
    for name, mask in masks.items():
        parameter = model.get_parameter(name)
        removed = ~mask.to(parameter.device)
        earlier = _gradient_mask(parameter)
        if earlier is not None:
            earlier.replace(removed)
        *path, _ = parts = name.split(".")
        # A module may use the parameters of its children without calling them, as attention does
        # with its output projection: the parent guards them as well, and the model all of them.
        for depth in sorted({0, max(0, len(path) - 1), len(path)}):
            module = model.get_submodule(".".join(path[:depth]))
            guard = _guard_of(module)
            guard.removed[".".join(parts[depth:])] = removed
            guard.of_model |= depth == 0
    _hook_optimisers()
    apply_guards(model)


def _check_fits(model: nn.Module, name: str, mask: Tensor) -> None:
    try:
        shape = model.get_parameter(name).shape
    except AttributeError as error:
        raise PruningError(f"{name}: the model has no such parameter") from error
    if shape != mask.shape:
        raise PruningError(
            f"{name}: has the shape {tuple(shape)}, and its mask {tuple(mask.shape)}"
        )


def apply_guards(model: nn.Module) -> None:
    """Mask the gradients of a copied or loaded model now, not only from its next forward pass on.

    Raises:
        PruningError: a guarded parameter is gone, or has another shape.
    """
    for module in model.modules():
        for guard in module._forward_pre_hooks.values():
            if isinstance(guard, Guard):
                guard.apply(module)


def count_removed(parameter: nn.Parameter) -> int:
    """Return how many weights of a parameter are kept at zero."""
    mask = _gradient_mask(parameter)
    return 0 if mask is None else int(mask.removed.sum())


class Guard:
    """Keeps removed weights of a module at zero; it is the module's own forward pre-hook.

    Attributes:
        removed: by the parameters' names within the module, True where the weight is removed.
        of_model: whether the module is the model that was pruned, and not a part of it. Its guard
            does not rely on noticing that a parameter has changed.
    """

    def __init__(self) -> None:
        self.removed: dict[str, Tensor] = {}
        self.of_model = False
        self._applied = False
        self._last_hook = 0

    def attach(self, module: nn.Module) -> None:
        """Register the guard's hooks on a module."""
        handles = (
            module.register_forward_pre_hook(self),
            module.register_load_state_dict_post_hook(self.after_loading),
            module.register_state_dict_pre_hook(self.before_saving),
        )
        self._last_hook = max(handle.id for handle in handles)

    def __call__(self, module: nn.Module, _inputs: Any) -> None:
        """Keep the removed weights at zero in the forward pass that follows.

        In a compiled model they are zero after every step, and nothing is left to do here once the
        gradients of its parameters are masked.
        """
        if not torch.compiler.is_compiling():
            self.apply(module)
        elif not self._applied:
            self._apply_uncompiled(module)

    @_disable_dynamo
    def _apply_uncompiled(self, module: nn.Module) -> None:
        self.apply(module)

    def after_loading(self, module: nn.Module, _keys: Any) -> None:
        """Keep the removed weights at zero in the parameters that were loaded or assigned."""
        self.apply(module)

    def before_saving(self, module: nn.Module, _prefix: str, _keep_vars: bool) -> None:
        """Keep the removed weights at zero in the state dictionary that is about to be made."""
        self.apply(module)

    def apply(self, module: nn.Module) -> None:
        """Set removed weights to 0 where they may have changed, and mask new parameters' gradients.

        Raises:
            PruningError: a parameter is gone, or has another shape than its mask.
        """
        if getattr(module, "_is_replica", False):  # of nn.DataParallel, computed from the original
            return
        for name, removed in self.removed.items():
            parameter = _find(module, name)
            if parameter is not None:
                self.removed[name] = _keep_at_zero(name, parameter, removed, self.of_model)
        self._applied = True

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy, which has not seen its own parameters yet."""
        return {**self.__dict__, "_applied": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # In another process the next hook must not get the number of one that came from the file.
        RemovableHandle.next_id = max(RemovableHandle.next_id, self._last_hook + 1)
        _hook_optimisers()


class _GradientMask:
    """Sets the gradient of removed weights to 0, even if it is infinite or NaN.

    Numbers are masked by their bits, which is several times as fast as `masked_fill` on a CPU, and
    exact for infinite numbers and NaN, which a multiplication by 0 is not.
    """

    def __init__(self, removed: Tensor) -> None:
        self.removed = removed
        self._bits = torch.empty(0)
        self._seen: tuple[int, int] | None = None

    def __call__(self, gradient: Tensor) -> Tensor:
        if gradient.requires_grad:  # integers have no second derivative
            return gradient.masked_fill(self.removed.to(gradient.device), 0.0)
        bits = self._kept_bits(gradient)
        return (gradient.view(bits.dtype) & bits).view(gradient.dtype)

    def replace(self, removed: Tensor) -> None:
        """Remove other weights from now on."""
        self.removed = removed
        self._bits = torch.empty(0)
        self._seen = None

    def zero(self, parameter: Tensor) -> None:
        """Set the removed weights to 0.

        A parameter's version is left as it is. They are zero already, unless something outside
        autograd has written to them, and a version that changes with each forward pass would forbid
        the backward pass of an earlier one, as in a loss of two outputs.
        """
        bits = self._kept_bits(parameter)
        written = parameter.data if isinstance(parameter, nn.Parameter) else parameter
        with torch.no_grad():
            written.view(bits.dtype).bitwise_and_(bits)
        self._seen = _state(parameter)

    def zero_if_changed(self, parameter: Tensor) -> None:
        """Set the removed weights to 0, unless the parameter is as `zero` left it.

        A change of `parameter.data` in place cannot be seen.
        """
        if self._seen is None or self._seen != _state(parameter):
            self.zero(parameter)

    def _kept_bits(self, like: Tensor) -> Tensor:
        """Return integers of the size of the numbers in `like`: all bits are 1 where it is kept."""
        integer = _INTEGERS[like.element_size()]
        if self._bits.dtype != integer or self._bits.device != like.device:
            self.removed = self.removed.to(like.device)
            self._bits = (~self.removed).to(integer).neg_()
        return self._bits


def _state(parameter: Tensor) -> tuple[int, int] | None:
    """Return what changes with most changes of a parameter; None if nothing tells of them."""
    if not isinstance(parameter, nn.Parameter) or parameter.is_inference():
        return None
    return parameter.data_ptr(), parameter._version


def _guard_of(module: nn.Module) -> Guard:
    """Return the module's guard, which is created where there is none."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, Guard):
            return hook
    guard = Guard()
    guard.attach(module)
    return guard


def _find(module: nn.Module, name: str) -> Tensor | None:
    """Return a module's parameter, or what torch.func has put in its place.

    None if it is no longer there under any form, so that nothing computes with it.
    """
    *path, last = name.split(".")
    owner: nn.Module | None = module
    for part in path:
        owner = owner._modules.get(part) if owner is not None else None
    if owner is None or getattr(owner, last, None) is None:
        return None
    if owner._parameters.get(last) is None:
        raise PruningError(
            f"{name}: was pruned, and is no longer a parameter of its {type(owner).__name__}, so "
            "that its removed weights cannot be kept at zero; parametrise, quantise or shard a "
            "model before it is pruned"
        )
    return owner._parameters[last]


def _keep_at_zero(name: str, parameter: Tensor, removed: Tensor, always: bool) -> Tensor:
    """Mask a parameter's gradient and set its removed weights to 0; return `removed` on its device.

    Args:
        name: the parameter's name, for the message.
        parameter: the parameter.
        removed: True where a weight is removed.
        always: set the weights to 0 also where no change is seen.

    Raises:
        PruningError: the parameter has another shape than the mask.
    """
    if parameter.is_meta:
        return removed
    if parameter.shape != removed.shape:
        raise PruningError(
            f"{name}: was pruned with the shape {tuple(removed.shape)}, and has the shape "
            f"{tuple(parameter.shape)} now, so that its mask does not apply"
        )
    mask = _gradient_mask(parameter)
    if mask is None and parameter.requires_grad:
        mask = _GradientMask(removed)
        parameter.register_hook(mask)
    mask = mask or _GradientMask(removed)
    if always:
        mask.zero(parameter)
    else:
        mask.zero_if_changed(parameter)
    return mask.removed


def _gradient_mask(parameter: Tensor) -> _GradientMask | None:
    for hook in (parameter._backward_hooks or {}).values():
        if isinstance(hook, _GradientMask):
            return hook
    return None


def _zero_after_step(optimiser: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            mask = _gradient_mask(parameter)
            if mask is not None:
                mask.zero(parameter)


_step_hook: RemovableHandle | None = None


def _hook_optimisers() -> None:
    """Register the hook on optimisers' steps, once in a process; it changes only pruned weights."""
    global _step_hook
    if _step_hook is None:
        _step_hook = register_optimizer_step_post_hook(_zero_after_step)
