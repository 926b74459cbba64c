"""Magnitude pruning (Han et al., 2015), at initialisation (Frankle et al., 2021)."""

from __future__ import annotations

from sparsead.pruning.contract import PRUNERS, Scores, Scoring


@PRUNERS.register("magnitude")
def magnitude(scoring: Scoring) -> Scores:
    """Score each weight z = |w|; needs neither batches nor a loss.

    Han et al., 2015 (arXiv:1506.02626) remove the smallest weights of a trained network; Frankle
    et al., 2021 (arXiv:2009.08576) do so before training, as here.

    Returns:
        One tensor of scores per prunable tensor, of its shape.
    """
    return {name: tensor.detach().abs() for name, tensor in scoring.tensors.items()}
