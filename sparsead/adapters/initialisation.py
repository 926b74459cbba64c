"""How every adapter's weights start: drawn by name, so that they depend on the seed alone."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from sparsead.errors import ConfigError, unknown
from sparsead.seeding import make_generator

INIT_STD = 0.02
INITS = ("bert", "zero_up")


def check_init(init: str) -> None:
    """Refuse what is no choice for `adapter.init`.

    Raises:
        ConfigError: `init` is none of INITS.
    """
    if init not in INITS:
        raise ConfigError(unknown("adapter.init", init, INITS))


@torch.no_grad()
def initialise(model: nn.Module, names: Iterable[str], *, init: str, up: str, seed: int) -> None:
    """Draw the named matrices from N(0, 0.02²), each from a generator of its own; zero the biases.

    Args:
        model: holds the parameters.
        names: of the adapter's parameters in `model`.
        init: "bert" draws every matrix; "zero_up" zeroes the up-projections, so that the adapter
            adds nothing at the start.
        up: how the names of up-projections end, such as ".up.weight".
        seed: the run's seed.
    """
    for name in names:
        parameter = model.get_parameter(name)
        if name.endswith(".bias") or (init == "zero_up" and name.endswith(up)):
            parameter.zero_()
        else:
            parameter.normal_(0.0, INIT_STD, generator=make_generator(seed, "adapter", name))
