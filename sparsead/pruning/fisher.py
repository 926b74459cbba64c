"""Fisher pruning: keep the weights with the largest empirical Fisher information."""

from __future__ import annotations

import torch

from sparsead.errors import PruningError
from sparsead.pruning.contract import PRUNERS, Scores, Scoring, at_least_fp32
from sparsead.pruning.examples import split_examples


@PRUNERS.register("fisher")
def fisher(scoring: Scoring) -> Scores:
    """Score each weight z = (1/n) Σ_i (∂L_i/∂w)², L_i being the loss of example i alone.

    This is the diagonal of the empirical Fisher information if L is a negative log-likelihood: the
    FISH mask of Sung et al., 2021 (arXiv:2111.09839), which SPEFT (Liu et al., 2025,
    arXiv:2412.13488) compares as "Fisher-Info". The labels are those of the data, not
    drawn from the model. Each example takes a forward and a backward pass of its own, because the
    square of a mean of gradients is not the mean of their squares.

    Returns:
        One tensor of scores per prunable tensor, of its shape.

    Raises:
        PruningError: there are no batches, or one cannot be taken apart into its examples.
    """
    if not scoring.batches:
        raise PruningError("this pruner needs batches to score on")
    parameters = list(scoring.tensors.values())
    totals = [torch.zeros_like(at_least_fp32(each.detach())) for each in parameters]
    count = 0
    for batch in scoring.batches:
        for example in split_examples(batch):
            loss = scoring.loss(scoring.model, example)
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            for total, gradient in zip(totals, map(at_least_fp32, gradients), strict=True):
                total.addcmul_(gradient, gradient)
            count += 1
    return {name: total / count for name, total in zip(scoring.tensors, totals, strict=True)}
