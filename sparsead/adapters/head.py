"""The linear probe: the head trains on a frozen backbone, the other end from full fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.sites import SiteError


@ADAPTERS.register("head")
@dataclass(frozen=True)
class HeadOnly:
    """Add nothing to the backbone; there is nothing to prune."""

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Freeze the backbone.

        Raises:
            SiteError: the head is the backbone's embedding, as of models that write text.
        """
        probe = freeze_backbone(model, adapter=(), prunable=())
        if not probe.head:
            raise SiteError(
                f"the head of {type(model).__name__} is the backbone's own embedding, "
                "so that nothing would train"
            )
        return probe
