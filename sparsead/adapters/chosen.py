"""Training a part of the backbone's own weights: their values, their gradients, their storage.

The chosen weights of a layer's matrix, or of its bias, are one vector, `LAYER.adapter.values`. It
alone trains, so that gradients and the optimiser's state have its size, and not that of the matrix.
Before the layer computes, the values are written into the matrix or the bias, which is frozen;
every other weight keeps its bits.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.errors import ConfigError

VALUES, PLACES = "values", "places"
"""Names of what a layer's chosen weights are stored as."""
_MATRIX = "weight"
_NO_PLACES = "does not say which weights of the backbone it changes"
_DENSE_SHARE = 0.15
"""Share of chosen weights in a matrix from which on the whole gradient is computed, then indexed.

In fp32 the products of the chosen places alone are faster below it; see scripts/bench_sparse.py.
"""


class ChosenWeights(nn.Module):
    """The chosen weights of a layer, which are written into its matrix or bias before it computes.

    Attributes:
        values: (k,), the weights that train; they start as the layer's.
        places: which weights these are. Either (k,), int32, their indices in the flattened matrix
            or in the bias, in rising order; or one bit for each weight of it, uint8.
        kind: `weight` or `bias`, of which they are.
    """

    places: Tensor
    _indices: Tensor

    def __init__(self, layer: nn.Module, kind: str, indices: Tensor, *, as_bits: bool) -> None:
        """Take some of a layer's weights.

        Args:
            layer: a linear layer, or, for its bias, any module that adds it to its output.
            kind: `weight` or `bias`.
            indices: (k,), int64, the chosen ones.
            as_bits: the form of `places`.
        """
        super().__init__()
        weights: Tensor = getattr(layer, kind)
        self.shape, self.kind = weights.shape, kind
        self.values = nn.Parameter(weights.detach().flatten()[indices].float())
        self.register_buffer(PLACES, pack_places(indices, self.shape.numel(), as_bits=as_bits))
        short = torch.int32 if self.shape.numel() < 2**31 else torch.int64
        self.register_buffer("_indices", indices.to(short), persistent=False)
        # Before other hooks on the output, such as those of packed batches: they change its shape.
        self._hooks = (
            layer.register_forward_pre_hook(self._write_before),
            layer.register_forward_hook(self._attach_gradient, prepend=True),
        )

    def merge_into(self, layer: nn.Module) -> None:
        """Leave the values in the layer, for good, and remove the hooks."""
        self.write(layer)
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def write(self, layer: nn.Module) -> None:
        """Write the values into the layer.

        They are written each time: a tensor's version does not tell whether they have changed,
        because PyTorch's fused optimisers do not count it up.
        """
        weights: Tensor = getattr(layer, self.kind)
        weights.data.view(-1)[self._indices] = self.values.detach().to(weights.dtype)

    def _write_before(self, layer: nn.Module, _inputs: Any) -> None:
        self.write(layer)

    def _attach_gradient(self, _layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and self.values.requires_grad):
            return output
        x = inputs[0] if self.kind == _MATRIX else None
        attached: Tensor = _GradientOfValues.apply(  # type: ignore[no-untyped-call]
            output, x, self.values, self._indices, self.shape
        )
        return attached


class _GradientOfValues(torch.autograd.Function):
    """Passes a layer's output on; in the backward pass it adds the gradient of the chosen weights.

    With the layer's input x, (tokens, n_in), and the gradient g of its output, (tokens, n_out), the
    gradient of the weight at row i and column j is Σ_t g_ti x_tj, and that of the bias at i is
    Σ_t g_ti.
    """

    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        x: Tensor | None,
        values: Tensor,
        indices: Tensor,
        shape: torch.Size,
    ) -> Tensor:
        """Return the output, as it is; x is None for weights of a bias."""
        ctx.save_for_backward(x, indices)
        ctx.shape = shape
        return output.view_as(output)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the output and of the values."""
        x, indices = ctx.saved_tensors
        by_token = g.flatten(0, -2)
        if x is None:
            own = by_token.sum(0, dtype=torch.float32)[indices]
        else:
            own = _products(by_token, x.flatten(0, -2), indices, ctx.shape)
        return g, None, own.float(), None, None


def _products(g: Tensor, x: Tensor, indices: Tensor, shape: torch.Size) -> Tensor:
    """Return gᵀx, of this shape, at the indices: (k,).

    In half precision the whole product is computed: there are instructions for it, and none for
    the products of chosen places. It rounds as the gradients of all other layers are rounded.
    """
    if g.dtype != torch.float32 or len(indices) > _DENSE_SHARE * shape.numel():
        return (g.mT @ x.to(g.dtype)).flatten()[indices]
    rows, columns = g.mT.contiguous(), x.float().mT.contiguous().mT  # the layout of the kernel
    sampled = torch.sparse.sampled_addmm(_pattern(indices, shape), rows, columns, beta=0.0)
    products: Tensor = sampled.values()
    return products


def _pattern(indices: Tensor, shape: torch.Size) -> Tensor:
    """Return a sparse matrix of this shape with zeros stored at the indices."""
    starts = torch.arange(shape[0] + 1, device=indices.device, dtype=indices.dtype) * shape[1]
    row_ends = torch.searchsorted(indices.contiguous(), starts).to(indices.dtype)
    zeros = torch.zeros(len(indices), device=indices.device)
    with warnings.catch_warnings():  # about the state of sparse tensors in PyTorch
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(
            row_ends, indices % shape[1], zeros, tuple(shape), check_invariants=False
        )


def pack_places(indices: Tensor, size: int, *, as_bits: bool) -> Tensor:
    """Return indices below `size` in rising order as int32, or as bits in bytes, the first highest.

    They are the form in which a file holds them.
    """
    if not as_bits:
        return indices.to(torch.int32)
    bits = torch.zeros(size, dtype=torch.uint8)
    bits[indices.cpu()] = 1
    return torch.from_numpy(np.packbits(bits.numpy()))


def unpack_places(places: Tensor, size: int) -> Tensor:
    """Return the indices, int64, that `pack_places` packed.

    Raises:
        ConfigError: they are not indices below `size` in rising order.
    """
    if places.dtype == torch.uint8 and len(places) == math.ceil(size / 8):
        (ones,) = np.unpackbits(places.cpu().numpy()).nonzero()
        indices = torch.from_numpy(ones).to(places.device)
    else:
        indices = places.long()
    rising = bool((indices.diff() > 0).all())
    if (
        places.dim() != 1
        or not rising
        or (len(indices) and not 0 <= indices[0] <= indices[-1] < size)
    ):
        raise ConfigError(
            f"the stored indices of {len(places)} weights do not fit a matrix of {size} weights"
        )
    return indices


def train_chosen(adapted: AdaptedModel, masks: Mapping[str, Tensor]) -> AdaptedModel:
    """Let only the kept weights train; those that the masks remove keep their values.

    Args:
        adapted: the model; its adapter consists of matrices or biases of its backbone's layers.
        masks: by the names of these, True where a weight trains.

    Returns:
        The model whose adapter consists of the vectors of kept weights; nothing in it is prunable.
    """
    indices = {name: masks[name].flatten().nonzero().squeeze(1) for name in adapted.prunable}
    kept, total = sum(map(len, indices.values())), sum(mask.numel() for mask in masks.values())
    return _attach(adapted, indices, as_bits=32 * kept > total)


def restore_chosen(adapted: AdaptedModel, tensors: Mapping[str, Tensor]) -> AdaptedModel:
    """Let only the weights train whose places a file holds, as `train_chosen` does for masks.

    Args:
        adapted: as for `train_chosen`.
        tensors: the tensors of the file, by name; the places are checked.

    Raises:
        ConfigError: there are no such places in the file, or they are not those of the matrices.
    """
    forms = {tensor.dtype for name, tensor in tensors.items() if name.endswith(f".{PLACES}")}
    if len(forms) > 1:
        raise ConfigError(_NO_PLACES)
    indices = read_places(adapted, tensors)
    return _attach(adapted, indices, as_bits=forms == {torch.uint8})


def read_places(adapted: AdaptedModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the indices of the chosen weights that a file holds, by the matrices' names.

    Args:
        adapted: as for `train_chosen`.
        tensors: the tensors of the file, by name.

    Raises:
        ConfigError: there are none, or they are not those of the matrices.
    """
    found = {name: tensors.get(f"{_layer(name)}.adapter.{PLACES}") for name in adapted.prunable}
    indices = {
        name: unpack_places(places, adapted.model.get_parameter(name).numel())
        for name, places in found.items()
        if places is not None
    }
    if not indices:
        raise ConfigError(_NO_PLACES)
    return indices


def _attach(adapted: AdaptedModel, indices: Mapping[str, Tensor], *, as_bits: bool) -> AdaptedModel:
    chosen = {name: found for name, found in indices.items() if len(found)}
    for name, found in chosen.items():
        layer = adapted.model.get_submodule(_layer(name))
        device = adapted.model.get_parameter(name).device
        kind = name.rpartition(".")[2]
        weights = ChosenWeights(layer, kind, found.to(device), as_bits=as_bits)
        layer.add_module("adapter", weights.to(device))
    layers = [_layer(name) for name in chosen]
    values, places = (_names(layers, part) for part in (VALUES, PLACES))
    trained = freeze_backbone(adapted.model, values, prunable=(), train_head=adapted.head_trains)
    return replace(trained, buffers=tuple(places))


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _names(layers: Iterable[str], part: str) -> list[str]:
    return [f"{layer}.adapter.{part}" for layer in layers]
