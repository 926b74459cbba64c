"""The scaled parallel adapter: a bottleneck beside the feed-forward sublayer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.bottleneck import Bottleneck, BottleneckOptions
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.sites import site_modules


@ADAPTERS.register("parallel")
@dataclass(frozen=True, kw_only=True)
class ParallelAdapter(BottleneckOptions):
    """y = FFN(x) + change(x), x being the input of the feed-forward sublayer.

    He et al., 2021 (arXiv:2110.04366), table 1 and section 4.6; their scale is 4.
    """

    scale: float = 4.0

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Attach an adapter beside every FFN and freeze the backbone.

        Raises:
            SiteError: the architecture's entry names no input or no output of the FFN.
        """
        inputs = site_modules(model, "ffn_input")
        places = site_modules(model, "ffn_output")
        for first, last in zip(inputs.values(), places.values(), strict=True):
            hooks = _Hooks(self.attach(model, last))
            first.register_forward_pre_hook(hooks.remember)
            last.register_forward_hook(hooks.add_change)
        return self.finish_insertion(model, places, seed)


class _Hooks:
    """Hooks that apply the adapter to an FFN's input and add the result to the FFN's output."""

    def __init__(self, adapter: Bottleneck) -> None:
        self._adapter = adapter
        self._input: Tensor | None = None

    def remember(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._input = inputs[0]

    def add_change(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        x, self._input = self._input, None
        change: Tensor = self._adapter(x)
        return output + change
