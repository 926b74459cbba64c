"""GraSP: gradient signal preservation (Wang et al., 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sparsead.config.values.pruners import check_temperature
from sparsead.errors import PruningError
from sparsead.pruning.contract import PRUNERS, Scores, Scoring, at_least_fp32
from sparsead.pruning.temperature import divided_logits


@PRUNERS.register("grasp")
def grasp(scoring: Scoring, *, temperature: float = 1.0) -> Scores:
    """Score each weight z = w ⊙ Hg, half the first-order decrease of gᵀg if it is removed.

    Wang et al., 2020 (arXiv:2002.07376) score -w ⊙ Hg and remove the highest, which gives the same
    order. g = ∂L/∂w and H = ∂²L/∂w² are derivatives of the mean loss over the same scoring set.
    H is never formed: Hg = Σ_b weight_b · ∂(g_bᵀg)/∂w, with g held
    fixed and one batch's graph in memory at a time. With a single batch, g comes from the same
    graph. Attention uses PyTorch's math kernel, because fused kernels have no second derivative.

    Args:
        scoring: what is scored.
        temperature: what the logits are divided by, in every cross-entropy; 200 in the code that
            Wang et al. published.

    Returns:
        One tensor of scores per prunable tensor, of its shape, with sign.

    Raises:
        ConfigError: the temperature is not within its limits.
        PruningError: there are no batches, an operation of the model has no second derivative, or
            there is a temperature and the loss is no cross-entropy.
    """
    check_temperature({"temperature": temperature})
    with divided_logits(temperature):
        return _scores(scoring)


def _scores(scoring: Scoring) -> Scores:
    batches = scoring.weighted_batches()
    gradients = scoring.mean_gradients() if len(batches) > 1 else None
    products = {
        name: torch.zeros_like(at_least_fp32(tensor.detach()))
        for name, tensor in scoring.tensors.items()
    }
    for batch, weight in batches:
        for name, product in _hessian_products(scoring, batch, gradients).items():
            products[name].add_(product, alpha=weight)
    return {name: tensor.detach() * products[name] for name, tensor in scoring.tensors.items()}


def _hessian_products(scoring: Scoring, batch: Any, vectors: Scores | None) -> Scores:
    """Return Hv of one batch's loss; if `vectors` is None, v is the batch's own gradient.

    The result is empty if no gradient depends on the weights.
    """
    names = list(scoring.tensors)
    parameters = list(scoring.tensors.values())
    with sdpa_kernel(SDPBackend.MATH), _twice_differentiable(), _cudnn_for(scoring.model):
        loss = scoring.loss(scoring.model, batch)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        curved = {n: g for n, g in zip(names, gradients, strict=True) if _is_curved(g)}
        if not curved:
            return {}
        along = [
            g.detach() if vectors is None else vectors[n].to(g.dtype) for n, g in curved.items()
        ]
        products = torch.autograd.grad(
            list(curved.values()), parameters, grad_outputs=along, materialize_grads=True
        )
    return dict(zip(names, products, strict=True))


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Put PyTorch's error for an operation without a second derivative into one line."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition(".")[0]
        if "is not implemented" not in reason:
            raise
        raise PruningError(
            f"pruner=grasp: the model has an operation without a second derivative ({reason})"
        ) from error


def _cudnn_for(model: nn.Module) -> AbstractContextManager[object]:
    """Switch cuDNN off for a model with recurrent layers: its kernels have no second derivative."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    return torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()


def _is_curved(gradient: Tensor | None) -> bool:
    """Tell whether a gradient depends on the weights: a constant one has no graph."""
    return gradient is not None and gradient.requires_grad
