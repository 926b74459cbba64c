"""The linear probe: only the head trains, on a frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.places import NO_OWN_HEAD, SiteError


@ADAPTERS.register("head")
@dataclass(frozen=True)
class HeadOnly:
    """Add nothing to the backbone; no weight is prunable."""

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Freeze the backbone.

        Raises:
            SiteError: the head is a part of the pretrained backbone, as in models that generate
                text.
        """
        probe = freeze_backbone(model, adapter=(), prunable=())
        if not probe.head:
            raise SiteError(NO_OWN_HEAD)
        return probe
