"""The scaled parallel adapter: a bottleneck beside the feed-forward sublayer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.bottleneck import BottleneckOptions
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.sites import site_modules


@ADAPTERS.register("parallel")
@dataclass(frozen=True, kw_only=True)
class ParallelAdapter(BottleneckOptions):
    """y = FFN(x) + change(x), x being what enters the feed-forward sublayer.

    He et al., 2021 (arXiv:2110.04366), table 1 and section 4.6; their scale is 4.
    """

    scale: float = 4.0

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Attach an adapter beside every FFN and freeze the backbone.

        Raises:
            SiteError: the architecture's map has no input or no output of the FFN.
        """
        inputs = site_modules(model, "ffn_input")
        places = site_modules(model, "ffn_output")
        for first, last in zip(inputs.values(), places.values(), strict=True):
            adapter = self.attach(model, last)
            first.register_forward_pre_hook(partial(_remember, adapter))
            last.register_forward_hook(_add_change)
        return self.adapted(model, places, seed)


def _remember(adapter: nn.Module, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    adapter.read = inputs[0]


def _add_change(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    adapter: Any = module.adapter
    x, adapter.read = adapter.read, None
    change: Tensor = adapter(x)
    return output + change
