"""Controls: masks and weights that should be worse if a pruner's choice of weights matters.

They are the sanity checks of Frankle et al., 2021 (arXiv:2009.08576, section 5). A pruner whose
scores are informative beyond the share that it removes from each tensor does better than its
shuffled mask, and far better than its inverted scores; one whose mask depends on the weights that
it was computed for does better than with weights that are drawn anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from sparsead.config.choices import list_choices, read_choice
from sparsead.config.pruning import CONTROLS
from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.contract import Scores
from sparsead.seeding import make_generator

Redraw = Callable[[], Mapping[str, Tensor]]
"""Returns new initial values of the prunable tensors, by name and of their shapes."""


def check_control(pruner: str, control: str) -> None:
    """Refuse a control that a pruner of conf/ does not support, because its masks have a pattern.

    Raises:
        ConfigError: the pruner's file does not list the control.
    """
    if control == "none" or pruner not in list_choices("pruner"):
        return
    supported = read_choice("pruner", pruner).get("controls", CONTROLS)
    if control not in supported:
        raise ConfigError(f"control={control}: pruner={pruner} supports {', '.join(supported)}")


def invert_scores(scores: Scores) -> Scores:
    """Return the scores with the opposite order, so that the best weights are removed."""
    return {name: -score for name, score in scores.items()}


def shuffle_masks(masks: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Permute each mask at random; every tensor keeps as many weights as before."""
    shuffled = {}
    for name, mask in masks.items():
        order = torch.randperm(mask.numel(), generator=make_generator(seed, "shuffle", name))
        shuffled[name] = mask.flatten()[order.to(mask.device)].reshape(mask.shape)
    return shuffled


@torch.no_grad()
def replace_weights(tensors: Mapping[str, nn.Parameter], redraw: Redraw | None) -> None:
    """Give the tensors the values that `redraw` returns.

    Raises:
        PruningError: there is no `redraw`, or it does not return every tensor in its shape.
    """
    if redraw is None:
        raise PruningError("control=reinit: needs redraw, a function that returns new weights")
    drawn = redraw()
    if not isinstance(drawn, Mapping):
        raise PruningError("control=reinit: redraw must return the new weights by name")
    for name, tensor in tensors.items():
        if name not in drawn or drawn[name].shape != tensor.shape:
            raise PruningError(f"control=reinit: redraw returned no {name} of its shape")
    for name, tensor in tensors.items():
        tensor.copy_(drawn[name])
