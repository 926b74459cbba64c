"""Bottleneck adapters: Houlsby et al., 2019, and the presets that differ from it in data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from sparsead.adapters.adapted import AdaptedModel, adapted
from sparsead.adapters.initialisation import check_init, initialise
from sparsead.backbones.sites import site_modules
from sparsead.errors import ConfigError, unknown
from sparsead.registry import ADAPTERS


class Bottleneck(nn.Module):
    """y = x + scale · up(dropout(act(down(x)))), the last dimension of x being `width`."""

    def __init__(
        self, width: int, bottleneck: int, activation: str, scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.act = ACT2FN[activation]
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(bottleneck, width)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor of shape (..., width) to the same shape."""
        change: Tensor = self.up(self.dropout(self.act(self.down(x))))
        return x + self.scale * change


@ADAPTERS.register("bottleneck")
@dataclass(frozen=True)
class BottleneckAdapter:
    """A bottleneck at every site of the kinds in `sites`.

    Args:
        bottleneck: r, the width of the hidden layer.
        sites: kinds of site, fields of `sparsead.backbones.sites.Sites`.
        activation: a name of transformers' activations.
        scale: factor on the adapter's output before it is added to its input.
        dropout: probability, on the hidden layer.
        init: "bert" draws both sides from N(0, 0.02²); "zero_up" draws down and zeroes up.
    """

    bottleneck: int
    sites: Sequence[str]
    activation: str = "relu"
    scale: float = 1.0
    dropout: float = 0.0
    init: str = "bert"

    def __post_init__(self) -> None:
        if self.activation not in ACT2FN:
            raise ConfigError(unknown("adapter.activation", self.activation, ACT2FN))
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"adapter.dropout={self.dropout:g}: must be at least 0 and below 1")
        check_init(self.init)

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Attach the adapters to the model's sites and freeze the backbone.

        Each adapter is a submodule `adapter` of the module whose output it changes, so that the
        backbone's own parameters keep their names.
        """
        names: list[str] = []
        for site in dict.fromkeys(self.sites):
            for site_name, module in site_modules(model, site).items():
                module.add_module("adapter", self._build(model.config.hidden_size))
                module.register_forward_hook(_apply_adapter)
                names += [f"{site_name}.adapter.{name}" for name in _PARAMETERS]
        initialise(model, names, init=self.init, up=".up.weight", seed=seed)
        return adapted(model, names, (name for name in names if name.endswith(".weight")))

    def _build(self, width: int) -> Bottleneck:
        return Bottleneck(width, self.bottleneck, self.activation, self.scale, self.dropout)


_PARAMETERS = ("down.weight", "down.bias", "up.weight", "up.bias")


def _apply_adapter(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    adapted_output: Tensor = module.adapter(output)  # type: ignore[operator]
    return adapted_output
