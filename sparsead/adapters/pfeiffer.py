"""Pfeiffer's adapter: one bottleneck per layer, before the LayerNorm after the FFN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.bottleneck import BottleneckOptions
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.sites import has_site, site_modules


@ADAPTERS.register("pfeiffer")
@dataclass(frozen=True, kw_only=True)
class PfeifferAdapter(BottleneckOptions):
    """z ← z + change(LN(z)), z being the sum of the FFN's residual connection.

    Pfeiffer et al., 2021 (arXiv:2005.00247), section 3.1 and figure 5: the configuration that
    their search found best. LN is the backbone's own LayerNorm after the FFN; it is applied twice,
    first to the adapter's input and then to the changed z. In pre-LayerNorm architectures z is the
    layer's output, and the adapter's input is z itself.
    """

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Attach an adapter to the residual sum after every FFN and freeze the backbone.

        Raises:
            SiteError: the architecture has no entry.
        """
        places = hook_sums(model)
        for module in places.values():
            self.attach(model, module)
        return self.finish_insertion(model, places, seed)


def hook_sums(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Register hooks by which a submodule `adapter` changes the residual sum after every FFN.

    Returns:
        The modules that have the hooks, by name; the caller adds the submodule `adapter` to each.

    Raises:
        SiteError: the architecture has no entry.
    """
    if has_site(model, "ffn_sum"):
        places = site_modules(model, "ffn_sum")
        for layer in places.values():
            layer.register_forward_hook(_change_output)
        return places
    places = site_modules(model, "ffn_norm")
    for norm in places.values():
        norm.register_forward_pre_hook(_change_input)
    return places


def _change_output(layer: nn.Module, _inputs: Any, z: Tensor) -> Tensor:
    change: Tensor = layer.adapter(z)  # type: ignore[operator]
    return z + change


def _change_input(norm: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    (z,) = inputs
    change: Tensor = norm.adapter(norm.forward(z))  # type: ignore[operator]
    return z + change
