"""LoRA: a low-rank change to the weights of linear layers (Hu et al., 2021, arXiv:2106.09685)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.initialisation import initialise
from sparsead.backbones.dropout import Dropout
from sparsead.backbones.places import check_distinct
from sparsead.backbones.sites import linear_modules
from sparsead.config.values.adapters import LOW_RANK
from sparsead.config.values.contract import check_all

_PARAMETERS = ("lora_A.weight", "lora_B.weight")


class LoRA(nn.Module):
    """(alpha / r) · B A dropout(x), which is added to a linear layer's output; no biases."""

    hook: RemovableHandle

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.lora_A = nn.Linear(linear.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, linear.out_features, bias=False)
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        """Map the layer's input (..., in) to the change of its output (..., out)."""
        change: Tensor = self.lora_B(self.lora_A(self.dropout(x)))
        return self.scale * change

    def merge_into(self, linear: nn.Linear) -> None:
        """Add the change to the layer's weight, and remove the layer's hook."""
        linear.weight += self.weight_change()
        self.hook.remove()

    def weight_change(self) -> Tensor:
        """Return (alpha / r) · B A, of the shape of the layer's weight, (out, in)."""
        return self.scale * (self.lora_B.weight @ self.lora_A.weight)


@ADAPTERS.register("lora")
@dataclass(frozen=True)
class LoRAAdapter:
    """y = W x + b + (alpha / r) · B A dropout(x) on every linear layer of the kinds in `sites`.

    Hu et al., 2021, equation 3, with their scaling by alpha / r. A is (r, in), B is (out, r).

    Args:
        bottleneck: r, the rank.
        sites: kinds of linear layer, fields of `sparsead.backbones.contract.Sites`.
        alpha: numerator of the scaling.
        dropout: probability, on the input of A.
        init: "bert" draws A and B from N(0, 0.02²); "zero_up" draws A and zeroes B.
    """

    bottleneck: int
    sites: Sequence[str]
    alpha: float = 16.0
    dropout: float = 0.0
    init: str = "bert"

    def __post_init__(self) -> None:
        check_all(LOW_RANK, vars(self))

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Attach A and B to the model's linear layers and freeze the backbone.

        A and B are in a submodule `adapter` of the layer, so that the backbone's own parameters
        keep their names.

        Raises:
            ConfigError: a site is unknown, its modules are not linear layers, or two sites are one
                module.
        """
        names = self.attach(model, seed, LoRA, _add_change)
        return freeze_backbone(model, names, prunable=names)

    def attach(
        self, model: PreTrainedModel, seed: int, kind: type[LoRA], hook: Callable[..., Tensor]
    ) -> list[str]:
        """Attach a module of this kind to each linear layer, and draw A and B.

        Args:
            model: the backbone with its head.
            seed: of A and B.
            kind: the module's class.
            hook: the forward hook by which the module changes the layer's output.

        Returns:
            The names of all A and B.

        Raises:
            ConfigError: a site is unknown, its modules are not linear layers, or two sites are one
                module.
        """
        linears = {
            name: module
            for site in self.sites
            for name, module in linear_modules(model, site, "LoRA needs linear layers").items()
        }
        check_distinct(model.config.model_type, self.sites)
        for linear in linears.values():
            lora = kind(linear, self.bottleneck, self.alpha, self.dropout)
            lora.hook = linear.register_forward_hook(hook)
            linear.add_module("adapter", lora)
        names = [f"{layer}.adapter.{name}" for layer in linears for name in _PARAMETERS]
        initialise(model, names, init=self.init, up=".lora_B.weight", seed=seed)
        return names


def _add_change(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    change: Tensor = module.adapter(inputs[0])  # type: ignore[operator]
    return output + change
