"""Pfeiffer's adapter: one bottleneck a layer, in front of the FFN's LayerNorm."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.bottleneck import BottleneckOptions
from sparsead.backbones.sites import site_modules
from sparsead.registry import ADAPTERS


@ADAPTERS.register("pfeiffer")
@dataclass(frozen=True, kw_only=True)
class PfeifferAdapter(BottleneckOptions):
    """z ← z + change(LN(z)), z being the sum that enters the FFN's LayerNorm LN.

    Pfeiffer et al., 2021 (arXiv:2005.00247), section 3.1 and figure 5: the configuration that
    their search found best. LN is the backbone's own, used once more for what the adapter reads.
    """

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Attach an adapter to the LayerNorm behind every FFN and freeze the backbone.

        Raises:
            SiteError: the architecture has no such LayerNorm.
        """
        places = site_modules(model, "ffn_norm")
        for module in places.values():
            self.attach(model, module)
            module.register_forward_pre_hook(add_to_sum)
        return self.adapted(model, places, seed)


def add_to_sum(norm: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return what `norm` is to see instead of z: z + adapter(norm(z))."""
    (z,) = inputs
    change: Tensor = norm.adapter(norm.forward(z))  # type: ignore[operator]
    return z + change
