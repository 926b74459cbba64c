"""GraSP: gradient signal preservation (Wang et al., 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sparsead.pruning.scoring import Scores, Scoring
from sparsead.registry import PRUNERS


@PRUNERS.register("grasp")
def grasp(scoring: Scoring) -> Scores:
    """Score each weight z = w ⊙ Hg, the part of gᵀHg that goes with it.

    Wang et al., 2020 (arXiv:2002.07376) score -w ⊙ Hg and remove the highest, which is the same
    order. g = ∂L/∂w and H = ∂²L/∂w² are of the loss averaged over one and the same scoring set;
    the logits' temperature is 1. H is never formed: Hg = Σ_b weight_b · ∂(g_bᵀg)/∂w with g held
    fixed, one batch's graph at a time. PyTorch's attention runs on its written-out products here,
    the only ones that can be differentiated twice.

    Returns:
        One tensor of scores per prunable tensor, of its shape, with sign.

    Raises:
        PruningError: there are no batches.
    """
    with sdpa_kernel(SDPBackend.MATH):
        gradients = scoring.mean_gradients()
        products = _hessian_products(scoring, gradients)
    return {name: tensor.detach() * products[name] for name, tensor in scoring.tensors.items()}


def _hessian_products(scoring: Scoring, vectors: Scores) -> Scores:
    """Return Hv of the mean loss over the scoring set, of the shapes of `vectors`."""
    parameters = list(scoring.tensors.values())
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    for batch, weight in scoring.weighted_batches():
        loss = scoring.loss(scoring.model, batch)
        products = _hessian_product(loss, parameters, list(vectors.values()))
        for total, product in zip(totals, products, strict=True):
            total.add_(product, alpha=weight)
    return dict(zip(scoring.tensors, totals, strict=True))


def _hessian_product(
    loss: Tensor, parameters: Sequence[nn.Parameter], vectors: Sequence[Tensor]
) -> Sequence[Tensor]:
    gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    # Where the loss is linear in a tensor, its gradient is constant and has no graph.
    curved = [
        (gradient, vector)
        for gradient, vector in zip(gradients, vectors, strict=True)
        if gradient.requires_grad
    ]
    if not curved:
        return [torch.zeros_like(parameter) for parameter in parameters]
    outputs, along = zip(*curved, strict=True)
    return torch.autograd.grad(outputs, parameters, grad_outputs=along, materialize_grads=True)
