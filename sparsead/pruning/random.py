"""Random pruning: every weight has the same chance to be kept."""

from __future__ import annotations

import torch

from sparsead.pruning.contract import PRUNERS, Scores, Scoring
from sparsead.seeding import make_generator


@PRUNERS.register("random")
def random(scoring: Scoring) -> Scores:
    """Score each weight z ~ Uniform(0, 1), with a generator for the seed and the name.

    As in the SparseAdapter paper (He et al., 2022, section 2.2). Neither batches nor a loss are
    needed.

    Returns:
        One tensor of scores per prunable tensor, of its shape.
    """
    return {
        name: torch.rand(tensor.shape, generator=make_generator(scoring.seed, "random", name))
        for name, tensor in scoring.tensors.items()
    }
