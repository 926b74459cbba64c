"""Erdős–Rényi-Kernel layer densities, random inside a layer (Evci et al., 2020)."""

from __future__ import annotations

from sparsead.pruning.contract import PRUNERS, Scores, Scoring
from sparsead.pruning.er import random_at_densities


@PRUNERS.register("erk")
def erk(scoring: Scoring) -> Scores:
    """Keep a random share ε·(n_in + n_out + k_h + k_w)/(n_in·n_out·k_h·k_w) of each layer.

    Evci et al., 2020 (arXiv:1911.11134). The kernel's dimensions count as well; for matrices
    the masks are those of `er`.

    Returns:
        One tensor of scores per prunable tensor, of its shape, as `er` does.
    """
    return random_at_densities(scoring, kernel=True)
