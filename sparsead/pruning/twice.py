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

_LOG_TWICE_DENSITY_AT_ZERO = math.log(2 / math.sqrt(2 * math.pi))


def _applied(function: type[torch.autograd.Function], *inputs: Any) -> Any:
    return function.apply(*inputs)


class TwiceDifferentiable(TorchFunctionMode):
    """Within it, these functions have the same values and derivatives, the second sooner.

    Attention other than plain or masked (causal, grouped, with dropout or a mask that is learnt)
    takes PyTorch's own written-out products.
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
            if _is_plain(*args, **kwargs):
                return _attention(*args, **kwargs)
            with sdpa_kernel(SDPBackend.MATH):
                return function(*args, **kwargs)
        return function(*args, **kwargs)


def _is_plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> bool:
    learnt = attn_mask is not None and attn_mask.requires_grad
    return not (learnt or dropout_p or is_causal or query.shape[:-2] != key.shape[:-2])


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return softmax(scale · query keyᵀ + attn_mask) value, of shape (…, queries, width)."""
    batch = query.shape[:-2]
    states = [state.flatten(0, -3).contiguous() for state in (query, key, value)]
    context: Tensor = _applied(
        _Attention, *states, attn_mask, scale or query.shape[-1] ** -0.5, batch
    )
    return context.unflatten(0, batch)


def _layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    learnt = any(p is not None and p.requires_grad for p in (weight, bias))
    if not learnt:
        frozen: Tensor = _applied(_LayerNorm, x, weight, bias, eps)
        return frozen
    normed: Tensor = _applied(_LayerNorm, x, None, None, eps)
    scaled = normed if weight is None else normed * weight
    return scaled if bias is None else scaled + bias


class _LayerNorm(torch.autograd.Function):
    """w y + bias, y = r (x - mean x) over the last dimension, r = (var x + eps)^(-1/2).

    Constant in w and the bias.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        normed, mean, r = torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
        ctx.save_for_backward(x, mean, r, weight)
        ctx.eps = eps
        return normed

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None]:
        gradient = _applied(_LayerNormGradient, outer, *ctx.saved_tensors, ctx.eps)
        return gradient, None, None, None


class _LayerNormGradient(torch.autograd.Function):
    """N(w outer), N(u) = r (u - m(u) - y m(u y)), m being the mean over the last dimension."""

    @staticmethod
    def forward(
        ctx: Any,
        outer: Tensor,
        x: Tensor,
        mean: Tensor,
        r: Tensor,
        weight: Tensor | None,
        eps: float,
    ) -> Tensor:
        gradient = _layer_norm_gradient(outer, x, mean, r, weight)
        ctx.save_for_backward(outer, x, mean, r, weight, gradient)
        ctx.eps = eps
        return gradient

    @staticmethod
    def backward(ctx: Any, vector: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives along `outer` and along x.

        They are w N(vector), and with g = w outer, b = m(vector y) and c = m(g y)

        -r (N(g) b + N(vector) c) - y (m(N(g) N(vector)) + r⁴ eps b c).
        """
        outer, x, mean, r, weight, gradient = ctx.saved_tensors
        g = outer if weight is None else outer * weight
        y = (x - mean).mul_(r)
        along = _layer_norm_gradient(vector, x, mean, r, None)
        b, c, both = (_mean_product(*p) for p in ((vector, y), (g, y), (gradient, along)))
        both += r**4 * ctx.eps * b * c
        change = gradient * (-r * b)
        change.addcmul_(along, -r * c).addcmul_(y, both, value=-1)
        return along if weight is None else along * weight, change, None, None, None, None


def _layer_norm_gradient(
    outer: Tensor, x: Tensor, mean: Tensor, r: Tensor, weight: Tensor | None
) -> Tensor:
    gradient: Tensor = torch.ops.aten.native_layer_norm_backward(
        outer, x, x.shape[-1:], mean, r, weight, None, [True, False, False]
    )[0]
    return gradient


def _mean_product(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).mean(-1, keepdim=True)


class _GELU(torch.autograd.Function):
    """f(x) = x Φ(x), Φ and φ being the standard normal's distribution and density."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Any:
        return _applied(_GELUGradient, outer, *ctx.saved_tensors)


class _GELUGradient(torch.autograd.Function):
    """outer · f'(x), f'(x) = Φ(x) + x φ(x)."""

    @staticmethod
    def forward(ctx: FunctionCtx, outer: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(outer, x)
        return _gelu_gradient(outer, x)

    @staticmethod
    def backward(ctx: Any, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return vector · f'(x) and vector · outer · f''(x), with f''(x) = φ(x) (2 - x²).

        Where s = log 2φ(x), that is e^s (1 + s - log 2φ(0)).
        """
        outer, x = ctx.saved_tensors
        peak = x.new_tensor(_LOG_TWICE_DENSITY_AT_ZERO)
        s = torch.addcmul(peak, x, x, value=-0.5)
        change = s.exp()
        change.mul_(s.add_(1 - _LOG_TWICE_DENSITY_AT_ZERO)).mul_(outer).mul_(vector)
        return _gelu_gradient(vector, x), change


def _gelu_gradient(outer: Tensor, x: Tensor) -> Tensor:
    gradient: Tensor = torch.ops.aten.gelu_backward(outer, x)
    return gradient


class _Attention(torch.autograd.Function):
    """P V, with P = softmax(S), S = c Q Kᵀ + mask; P is 0 where a whole row of S is -∞.

    Q, K and V are (batches, tokens, width), `shape` the dimensions that the batches are of. The
    result is constant in the mask, which is True where a key is seen, or added.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, c: float, shape: Any
    ) -> Tensor:
        scores = _product(q, k.mT, c)
        split = scores.unflatten(0, shape)
        if mask is not None and mask.dtype == torch.bool:
            split.masked_fill_(~mask, -math.inf)
        elif mask is not None:
            split.add_(mask)
        p = torch.ops.aten._safe_softmax(scores, -1)
        ctx.save_for_backward(q, k, v, p)
        ctx.c = c
        return p @ v

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        return *_applied(_AttentionGradient, outer, *ctx.saved_tensors, ctx.c), None, None, None


class _AttentionGradient(torch.autograd.Function):
    """c D K, c Dᵀ Q and Pᵀ outer, with D = J(A), A = outer Vᵀ.

    J is the softmax's derivative, J(X) = P ∘ (X - rows' sums of P ∘ X). P is no input of its own.
    """

    @staticmethod
    def forward(
        ctx: Any, outer: Tensor, q: Tensor, k: Tensor, v: Tensor, p: Tensor, c: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        outer = outer.contiguous()
        a = outer @ v.mT
        d = _softmax_gradient(a, p)
        ctx.save_for_backward(outer, q, k, v, p, a, d)
        ctx.c = c
        return _product(d, k, c), _product(d.mT, q, c), p.mT @ outer

    @staticmethod
    def backward(
        ctx: Any, along_q: Tensor, along_k: Tensor, along_v: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Return the derivatives along `outer`, Q, K and V.

        With T = c (along_q Kᵀ + Q along_kᵀ), they are

        J(T) V + P along_v, c (D along_k + E K), c (Dᵀ along_q + Eᵀ Q) and J(T)ᵀ outer,

        where E = J(outer along_vᵀ + T ∘ (A - rows' sums of P ∘ A) - A ∘ rows' sums of P ∘ T).
        """
        outer, q, k, v, p, a, d = ctx.saved_tensors
        c = ctx.c
        along = [vector.contiguous() for vector in (along_q, along_k, along_v)]
        t = _product(along[0], k.mT, c).baddbmm_(q, along[1].mT, alpha=c)
        turned = _softmax_gradient(t, p)
        e = outer @ along[2].mT
        e.addcmul_(t, a - _row_sums(p, a)).addcmul_(a, _row_sums(p, t), value=-1)
        e = _softmax_gradient(e, p)
        return (
            (turned @ v).baddbmm_(p, along[2]),
            _product(d, along[1], c).baddbmm_(e, k, alpha=c),
            _product(d.mT, along[0], c).baddbmm_(e.mT, q, alpha=c),
            turned.mT @ outer,
            None,
            None,
        )


def _product(a: Tensor, b: Tensor, factor: float) -> Tensor:
    """Return factor · a b."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=factor)


def _row_sums(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)


def _softmax_gradient(outer: Tensor, shares: Tensor) -> Tensor:
    product: Tensor = torch.ops.aten._softmax_backward_data(outer, shares, -1, shares.dtype)
    return product
