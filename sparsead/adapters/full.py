"""Full fine-tuning: the reference that adapters are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.heads import pretrained_parameters


@ADAPTERS.register("full")
@dataclass(frozen=True)
class FullFineTuning:
    """Train every weight of the backbone; no weight is prunable."""

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Make all of the backbone trainable."""
        backbone = pretrained_parameters(model)
        names = (name for name, p in model.named_parameters() if id(p) in backbone)
        return freeze_backbone(model, adapter=names, prunable=())
