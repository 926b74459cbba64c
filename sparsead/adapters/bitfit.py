"""BitFit: the backbone's biases train and nothing else (Ben Zaken et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.places import SiteError


@ADAPTERS.register("bitfit")
@dataclass(frozen=True)
class BitFit:
    """Train every bias of the backbone, those of LayerNorms included; nothing is prunable.

    Ben Zaken et al., 2022 (arXiv:2106.10199), equations 1 to 5.
    """

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Make the biases trainable.

        Raises:
            SiteError: the architecture has no biases.
        """
        backbone = {id(parameter) for parameter in model.base_model.parameters()}
        names = [
            name
            for name, parameter in model.named_parameters()
            if id(parameter) in backbone and name.endswith(".bias") and ".pooler." not in name
        ]
        if not names:
            raise SiteError(f"{model.config.model_type} has no biases")
        return freeze_backbone(model, adapter=names, prunable=())
