"""DoRA: LoRA with a magnitude for each output (Liu et al., 2024, arXiv:2402.09353)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.lora import LoRA, LoRAAdapter

_MAGNITUDE = "magnitude"


class DoRA(LoRA):
    """The direction W + (alpha / r) · B A of a linear layer's weight, and its length for each row.

    `magnitude` is m, of shape (out,). Before pruning it is the length of the rows, so that the
    layer computes what it computes with LoRA. Pruning changes B A and not m, so that the rows
    of a pruned layer start somewhat longer or shorter than with LoRA.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        super().__init__(linear, rank, alpha, dropout)
        self.magnitude = nn.Parameter(torch.empty(linear.out_features))
        self.layer = (linear,)  # in a tuple, so that the layer is no submodule of its own part

    @torch.no_grad()
    def lengths(self) -> Tensor:
        """Return ‖W + (alpha / r) · B A‖ of each row, of shape (out,), without a gradient.

        Liu et al., section 4.3, treat the length as a constant, which saves memory.
        """
        (linear,) = self.layer
        direction = linear.weight.float() + super().weight_change()
        lengths: Tensor = torch.linalg.vector_norm(direction, dim=1)
        return lengths

    def factor(self) -> Tensor:
        """Return m / ‖W + (alpha / r) · B A‖, of shape (out,), in fp32 also under autocast."""
        with torch.autocast(self.magnitude.device.type, enabled=False):
            return self.magnitude / self.lengths()

    def weight_change(self) -> Tensor:
        """Return m (W + (alpha / r) · B A) / ‖W + (alpha / r) · B A‖ − W, of shape (out, in)."""
        (linear,) = self.layer
        return self.factor()[:, None] * (linear.weight + super().weight_change()) - linear.weight


@ADAPTERS.register("dora")
@dataclass(frozen=True)
class DoRAAdapter(LoRAAdapter):
    """y = m (W + (alpha / r) · B A) / ‖W + (alpha / r) · B A‖ · x + b, row by row.

    Liu et al., 2024, equation 5; its gradient is that of equation 11. A and B are drawn and
    prunable as those of LoRA, and m trains whole. The dropout is on the input of A alone.
    """

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Attach A, B and m to the model's linear layers and freeze the backbone.

        Raises:
            ConfigError: a site is unknown, its modules are not linear layers, or two sites are one
                module.
        """
        matrices = self.attach(model, seed, DoRA, _rescale)
        layers = dict.fromkeys(name.partition(".adapter.")[0] for name in matrices)
        for layer in layers:
            dora = cast(DoRA, model.get_submodule(f"{layer}.adapter"))
            if not model.get_parameter(f"{layer}.weight").is_meta:  # else it is only counted
                dora.magnitude.data.copy_(dora.lengths())
        magnitudes = [f"{layer}.adapter.{_MAGNITUDE}" for layer in layers]
        return freeze_backbone(model, [*matrices, *magnitudes], prunable=matrices)


def _rescale(module: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    dora = cast(DoRA, module.adapter)
    bias: Tensor | float = 0.0 if module.bias is None else module.bias
    rescaled: Tensor = dora.factor() * (output - bias + dora(inputs[0]))
    return rescaled + bias
