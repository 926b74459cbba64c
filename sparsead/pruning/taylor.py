"""Taylor pruning: the squared first-order change of the loss (Molchanov et al., 2019)."""

from __future__ import annotations

from sparsead.pruning.contract import PRUNERS, Scores, Scoring


@PRUNERS.register("taylor")
def taylor(scoring: Scoring) -> Scores:
    """Score each weight z = (w · ∂L/∂w)², the square of the loss's first-order change without it.

    Molchanov et al., 2019 (arXiv:1906.10771, for single weights here), which SPEFT (Liu et
    al., 2025, arXiv:2412.13488) compares as "Taylor-FO". The gradient is averaged over
    the scoring set with its sign. As a square has the order of the absolute value, the mask is that
    of `snip`; what differs is a mean of several scores, as `pruner=units` takes with
    pruner.criterion=taylor: a few large changes count for more there.

    Returns:
        One tensor of scores per prunable tensor, of its shape, in float64: small numbers would
        become 0 if they were squared in float32.

    Raises:
        PruningError: there are no batches.
    """
    gradients = scoring.mean_gradients()
    return {
        name: (tensor.detach() * gradients[name]).double().square()
        for name, tensor in scoring.tensors.items()
    }
