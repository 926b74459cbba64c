"""(IA)³: a trained factor for each activation (Liu et al., 2022, arXiv:2205.05638)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.initialisation import initialise
from sparsead.backbones.sites import linear_modules
from sparsead.config.values.adapters import check_init
from sparsead.errors import ConfigError

_CHANGE = ".change"
_OF_INPUT = ("ffn_projection",)
"""Sites whose input is multiplied: the inner activations of the feed-forward layer."""


class IA3(nn.Module):
    """The factors 1 + `change`, by which a linear layer's output or its input is multiplied.

    `change` is (out, 1) for the output, and (1, in) for the input.
    """

    hook: RemovableHandle

    def __init__(self, linear: nn.Linear, *, of_input: bool) -> None:
        super().__init__()
        size = (1, linear.in_features) if of_input else (linear.out_features, 1)
        self.change = nn.Parameter(torch.empty(size))
        self.flops = {"change": 1}
        self.of_input = of_input

    def forward(self, x: Tensor) -> Tensor:
        """Multiply activations (..., n) by the n factors."""
        return x * (1 + self.change.flatten()).to(x.dtype)

    def merge_into(self, linear: nn.Linear) -> None:
        """Multiply the layer's weight, and its bias with the output, and remove the hook."""
        linear.weight.mul_(1 + self.change)
        if linear.bias is not None and not self.of_input:
            linear.bias.mul_(1 + self.change.flatten())
        self.hook.remove()


@ADAPTERS.register("ia3")
@dataclass(frozen=True)
class IA3Adapter:
    """Keys, values and inner feed-forward activations times l = 1 + change, elementwise.

    Liu et al., 2022, section 3.3. The trained parameter is the difference of l from one, so that a
    removed weight leaves its activation as it is. In peft it is l itself, so that a removed one
    takes its activation out of the model.

    Args:
        sites: kinds of linear layer, fields of `sparsead.backbones.contract.Sites`; of
            ffn_projection the input is multiplied, and of all others the output.
        init: "bert" draws the changes from N(0, 0.02²); "zero_up" zeroes them, as Liu et al. do:
            then no score that multiplies by the weight tells them apart.
    """

    sites: Sequence[str]
    init: str = "bert"

    def __post_init__(self) -> None:
        check_init(vars(self))

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Attach the factors to the model's linear layers and freeze the backbone.

        Raises:
            SiteError: the architecture has no such site.
            ConfigError: a site is unknown, its modules are not linear layers, or the input and the
                output of one layer would be multiplied.
        """
        layers: dict[str, tuple[nn.Linear, str]] = {}
        for site in self.sites:
            found = linear_modules(model, site, "(IA)³ multiplies linear layers")
            for layer, linear in found.items():
                _, other = layers.setdefault(layer, (linear, site))
                if (other in _OF_INPUT) != (site in _OF_INPUT):
                    raise ConfigError(
                        f"adapter.sites: {other} and {site} are the same layer in this backbone, "
                        f"{layer}, whose input and output cannot both be multiplied; give one"
                    )
        for linear, site in layers.values():
            _attach(linear, of_input=site in _OF_INPUT)
        names = [f"{layer}.adapter{_CHANGE}" for layer in layers]
        initialise(model, names, init=self.init, up=_CHANGE, seed=seed)
        return freeze_backbone(model, names, prunable=names)


def _attach(linear: nn.Linear, *, of_input: bool) -> None:
    factors = IA3(linear, of_input=of_input)
    if of_input:
        factors.hook = linear.register_forward_pre_hook(_scale_input)
    else:
        factors.hook = linear.register_forward_hook(_scale_output)
    linear.add_module("adapter", factors)


def _scale_input(linear: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (linear.adapter(inputs[0]), *inputs[1:])  # type: ignore[operator]


def _scale_output(linear: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    scaled: Tensor = linear.adapter(output)  # type: ignore[operator]
    return scaled
