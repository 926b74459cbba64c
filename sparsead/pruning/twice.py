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

from sparsead.backbones.attention import added_mask

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
    return not (learnt or dropout_p) and query.shape[:-2] == key.shape[:-2]


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
    if is_causal:
        causal = (query.shape[-2], key.shape[-2])
        attn_mask = torch.ones(causal, dtype=torch.bool, device=query.device).tril()
    batch = query.shape[:-2]
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    q, k, v = (states.flatten(0, -3).contiguous() for states in (query, key, value))
    shares: Tensor = _applied(_Shares, q, k, attn_mask, scale, batch)
    context: Tensor = (shares @ v).unflatten(0, batch)
    return context


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
        slope = torch.ops.aten.gelu_backward(torch.ones_like(x), x)
        ctx.save_for_backward(x, slope)
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Any:
        return _applied(_TimesSlope, outer, *ctx.saved_tensors)


class _TimesSlope(torch.autograd.Function):
    """outer · f'(x), f'(x) = Φ(x) + x φ(x) being at hand as `slope`."""

    @staticmethod
    def forward(ctx: FunctionCtx, outer: Tensor, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(outer, x, slope)
        return outer * slope

    @staticmethod
    def backward(ctx: Any, vector: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return vector · f'(x) and vector · outer · f''(x), with f''(x) = φ(x) (2 - x²).

        Where s = log 2φ(x), f''(x) = e^s (1 + s - log 2φ(0)).
        """
        outer, x, slope = ctx.saved_tensors
        s = torch.addcmul(x.new_tensor(_LOG_TWICE_DENSITY_AT_ZERO), x, x, value=-0.5)
        curvature = s.exp().mul_(s.add_(1 - _LOG_TWICE_DENSITY_AT_ZERO))
        return vector * slope, curvature.mul_(outer).mul_(vector), None


class _Shares(torch.autograd.Function):
    """P = softmax(c Q Kᵀ + mask); 0 where a whole row is -∞.

    Q and K are (batches, tokens, width), `batch` the dimensions that the batches are of. P is
    constant in the mask, which is True where a key is seen, or added.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, mask: Tensor | None, c: float, batch: torch.Size
    ) -> Tensor:
        p = _softmax(_product(q, k.mT, c).unflatten(0, batch), mask).flatten(0, -3)
        ctx.save_for_backward(q, k, p)
        ctx.c = c
        return p

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        along_q, along_k = _applied(_SharesGradient, outer, *ctx.saved_tensors, ctx.c)
        return along_q, along_k, None, None, None


class _SharesGradient(torch.autograd.Function):
    """c D K and c Dᵀ Q, with D = J(outer).

    J is the softmax's derivative, J(X) = P ∘ (X - rows' sums of P ∘ X).
    """

    @staticmethod
    def forward(
        ctx: Any, outer: Tensor, q: Tensor, k: Tensor, p: Tensor, c: float
    ) -> tuple[Tensor, Tensor]:
        d = _softmax_gradient(outer, p)
        ctx.save_for_backward(outer, q, k, p, d)
        ctx.c = c
        return _product(d, k, c), _product(d.mT, q, c)

    @staticmethod
    def backward(ctx: Any, along_q: Tensor, along_k: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives along `outer`, Q, K and P.

        With T = c (along_q Kᵀ + Q along_kᵀ), they are J(T), c D along_k, c Dᵀ along_q and

        T ∘ (outer - rows' sums of P ∘ outer) - outer ∘ rows' sums of P ∘ T.
        """
        outer, q, k, p, d = ctx.saved_tensors
        along_q, along_k = along_q.contiguous(), along_k.contiguous()
        t = _product(along_q, k.mT, ctx.c).baddbmm_(q, along_k.mT, alpha=ctx.c)
        product = t * p
        along_t = product.sum(-1, keepdim=True)
        along_outer = torch.mul(outer, p, out=product).sum(-1, keepdim=True)
        turned = _softmax_gradient(t, p)
        along_p = torch.sub(outer, along_outer, out=product).mul_(t)
        along_p.addcmul_(outer, along_t, value=-1)
        along_q, along_k = _product(d, along_k, ctx.c), _product(d.mT, along_q, ctx.c)
        return turned, along_q, along_k, along_p, None


def _softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Return the softmax of scores + mask over the last dimension; the scores are lost."""
    if mask is None:
        return scores.softmax(-1)
    if mask.dtype != torch.bool:
        shared: Tensor = torch.ops.aten._safe_softmax(scores.add_(mask), -1)
        return shared
    shares = scores.add_(added_mask(mask, scores.dtype)).softmax(-1)
    return shares.mul_(mask.any(-1, keepdim=True))  # 0 where no key is seen


def _product(a: Tensor, b: Tensor, factor: float) -> Tensor:
    """Return factor · a b."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=factor)


def _softmax_gradient(outer: Tensor, shares: Tensor) -> Tensor:
    product: Tensor = torch.ops.aten._softmax_backward_data(outer, shares, -1, shares.dtype)
    return product
