"""The initialisation of adapters: drawn per parameter name, so that only the seed matters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from sparsead.seeding import make_generator

INIT_STD = 0.02


@torch.no_grad()
def initialise(
    model: nn.Module, names: Iterable[str], *, init: str, up: str | None = None, seed: int
) -> None:
    """Draw the named matrices from N(0, 0.02²), each from its own generator; zero the biases.

    An adapter with a small bottleneck is nested in one with a large bottleneck: both draw the same
    weights for the units that they share. For that a matrix is drawn one unit after the other. The
    units are the columns of an up-projection, (d_out, r), and the rows of every other matrix. For a
    parameter on the meta device, which has no values, nothing is drawn.

    Args:
        model: the model that has the parameters.
        names: names of the adapter's parameters in `model`.
        init: "bert" draws every matrix; "zero_up" zeroes the up-projections, so that the adapter
            adds nothing at the start.
        up: suffix of the names of up-projections, such as ".up.weight"; None if there are none.
        seed: the seed of the initial weights.
    """
    for name in names:
        parameter = model.get_parameter(name)
        if parameter.is_meta:
            continue  # only its size is asked for
        is_up = up is not None and name.endswith(up)
        if name.endswith(".bias") or (init == "zero_up" and is_up):
            parameter.zero_()
            continue
        by_unit = parameter.T if is_up else parameter
        draws = make_generator(seed, "adapter", name)
        # One call a unit: in a single call the last values also depend on how many are drawn.
        for unit in by_unit:
            unit.copy_(INIT_STD * torch.randn(len(unit), generator=draws))
