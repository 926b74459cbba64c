"""Full fine-tuning: the reference that adapters are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS


@ADAPTERS.register("full")
@dataclass(frozen=True)
class FullFineTuning:
    """Train every weight of the backbone; no weight is prunable."""

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Make all of the backbone trainable."""
        backbone = {id(parameter) for parameter in model.base_model.parameters()}
        names = (name for name, p in model.named_parameters() if id(p) in backbone)
        return freeze_backbone(model, adapter=names, prunable=())
