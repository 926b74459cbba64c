"""Gradient pruning: keep the weights along which the loss changes fastest (Liu et al., 2025)."""

from __future__ import annotations

from sparsead.pruning.contract import PRUNERS, Scores, Scoring


@PRUNERS.register("gradient")
def gradient(scoring: Scoring) -> Scores:
    """Score each weight z = |∂L/∂w|, whatever its value.

    The metric "gradient" of SPEFT (Liu et al., 2025, arXiv:2412.13488): the gradient is
    averaged over the scoring set with its sign, then the absolute value is taken. Where `snip` asks
    what is lost if a weight is removed, this asks which weight the first step of training changes
    most.

    Returns:
        One tensor of scores per prunable tensor, of its shape.

    Raises:
        PruningError: there are no batches.
    """
    return {name: each.abs() for name, each in scoring.mean_gradients().items()}
