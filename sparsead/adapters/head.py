"""The linear probe: only the head trains, on a frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.places import SiteError


@ADAPTERS.register("head")
@dataclass(frozen=True)
class HeadOnly:
    """Add nothing to the backbone; no weight is prunable."""

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Freeze the backbone.

        Raises:
            SiteError: the head shares its weights with the backbone's embedding, as in models that
                generate text.
        """
        probe = freeze_backbone(model, adapter=(), prunable=())
        if not probe.head:
            raise SiteError(
                f"the head of {type(model).__name__} is the backbone's own embedding, "
                "so that nothing would train"
            )
        return probe
