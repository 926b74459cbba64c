"""GELU, LayerNorm and attention whose second derivatives take few passes over memory.

PyTorch differentiates them twice, but by chains of elementwise products, each of them a new tensor
as large as the activations; fused attention cannot be differentiated twice at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

_DENSITY_AT_ZERO = 1 / math.sqrt(2 * math.pi)


def _applied(function: type[torch.autograd.Function], *inputs: Any) -> Tensor:
    result: Tensor = function.apply(*inputs)
    return result


class TwiceDifferentiable(TorchFunctionMode):
    """Within it, these functions have the same values and derivatives, the second sooner.

    Attention other than plain or masked (causal, grouped, with dropout) takes PyTorch's own
    written-out products.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace the exact GELU, LayerNorm and plain attention; leave all else alone."""
        kwargs = kwargs or {}
        if function is F.gelu and len(args) == 1 and not kwargs:
            return _applied(_GELU, args[0])
        if function is F.layer_norm and len(args[1]) == 1:
            return _layer_norm(*args, **kwargs)
        if function is F.scaled_dot_product_attention:
            plain = {key: kwargs[key] for key in ("attn_mask", "scale") if key in kwargs}
            if len(args) == 3 and not any(kwargs[key] for key in kwargs.keys() - plain.keys()):
                return _attention(*args, **plain)
            with sdpa_kernel(SDPBackend.MATH):
                return function(*args, **kwargs)
        return function(*args, **kwargs)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Return softmax(scale · query keyᵀ + attn_mask) value, of shape (…, queries, width)."""
    scores = (query * (scale or query.shape[-1] ** -0.5)) @ key.mT
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill_(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return _applied(_Softmax, scores) @ value


def _layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    normed = _applied(_Normalise, x, eps)
    scaled = normed if weight is None else normed * weight
    return scaled if bias is None else scaled + bias


class _Normalise(torch.autograd.Function):
    """y = r (x - mean x) over the last dimension, r = (var x + eps)^(-1/2)."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, eps: float) -> Tensor:
        y, _, r = torch.native_layer_norm(x, x.shape[-1:], None, None, eps)
        ctx.save_for_backward(x, y, r)
        return y

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:
        return _applied(_NormaliseGradient, outer, *ctx.saved_tensors), None


class _NormaliseGradient(torch.autograd.Function):
    """r (outer - m(outer) - y m(outer y)), m being the mean over the last dimension."""

    @staticmethod
    def forward(ctx: FunctionCtx, outer: Tensor, x: Tensor, y: Tensor, r: Tensor) -> Tensor:
        ctx.save_for_backward(outer, y, r)
        return _normalise_gradient(outer, y, r)

    @staticmethod
    def backward(ctx: Any, vector: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Return the derivatives along `outer` and along x.

        The latter is

        -r² (outer b + c vector + y (m(outer vector) - a d - 3 b c) - (a b + c d)), where
        a = m(outer), b = m(vector y), c = m(outer y) and d = m(vector).
        """
        outer, y, r = ctx.saved_tensors
        a, d = (part.mean(-1, keepdim=True) for part in (outer, vector))
        b, c, both = (_mean_product(*p) for p in ((vector, y), (outer, y), (outer, vector)))
        change = outer * b
        change.addcmul_(vector, c).addcmul_(y, both - a * d - 3 * b * c).sub_(a * b + c * d)
        return _normalise_gradient(vector, y, r), change.mul_(-r.square()), None, None


def _normalise_gradient(outer: Tensor, y: Tensor, r: Tensor) -> Tensor:
    change = outer - outer.mean(-1, keepdim=True)
    return change.addcmul_(y, _mean_product(outer, y), value=-1).mul_(r)


def _mean_product(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).mean(-1, keepdim=True)


class _GELU(torch.autograd.Function):
    """f(x) = x Φ(x), Φ and φ being the standard normal's distribution and density."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        slope = torch.ops.aten.gelu_backward(torch.ones_like(x), x)
        ctx.save_for_backward(x, slope)
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:
        return _applied(_TimesSlope, outer, *ctx.saved_tensors)


class _TimesSlope(torch.autograd.Function):
    """outer · f'(x), f'(x) = Φ(x) + x φ(x) being at hand as `slope`."""

    @staticmethod
    def forward(ctx: FunctionCtx, outer: Tensor, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(outer, x, slope)
        return outer * slope

    @staticmethod
    def backward(ctx: Any, vector: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return vector · f'(x) and vector · outer · f''(x), with f''(x) = φ(x) (2 - x²)."""
        outer, x, slope = ctx.saved_tensors
        square = x * x
        density = (square * -0.5).exp_().mul_(_DENSITY_AT_ZERO)
        curvature = density.mul_(square.neg_().add_(2))
        return vector * slope, curvature.mul_(outer).mul_(vector), None


class _Softmax(torch.autograd.Function):
    """s = softmax(x) over the last dimension; 0 where every x is -∞."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        shares: Tensor = torch.ops.aten._safe_softmax(x, -1)
        ctx.save_for_backward(shares)
        return shares

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Tensor:
        return _applied(_SoftmaxGradient, outer, *ctx.saved_tensors)


class _SoftmaxGradient(torch.autograd.Function):
    """s (outer - Σ outer s), the sums being over the last dimension."""

    @staticmethod
    def forward(ctx: FunctionCtx, outer: Tensor, shares: Tensor) -> Tensor:
        ctx.save_for_backward(outer, shares)
        return _softmax_gradient(outer, shares)

    @staticmethod
    def backward(ctx: Any, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return s (vector - Σ vector s) and vector (outer - Σ outer s) - outer Σ vector s."""
        outer, shares = ctx.saved_tensors
        product = outer * shares
        along_outer = product.sum(-1, keepdim=True)
        along_vector = torch.mul(vector, shares, out=product).sum(-1, keepdim=True)
        change = torch.sub(outer, along_outer, out=product).mul_(vector)
        change.addcmul_(outer, along_vector, value=-1)
        return _softmax_gradient(vector, shares), change


def _softmax_gradient(outer: Tensor, shares: Tensor) -> Tensor:
    product: Tensor = torch.ops.aten._softmax_backward_data(outer, shares, -1, shares.dtype)
    return product
