"""BitFit: the backbone's biases train and nothing else (Ben Zaken et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.heads import list_backbone_parameters
from sparsead.backbones.places import SiteError, build_bias_error
from sparsead.errors import ConfigError

_ADD_THEIR_BIAS = (nn.Linear, nn.LayerNorm, Conv1D)
"""Modules whose output is a sum of which their bias is one term."""


@ADAPTERS.register("bitfit")
@dataclass(frozen=True)
class BitFit:
    """Train the backbone's biases, those of LayerNorms included: all, or those a pruner chooses.

    Ben Zaken et al., 2022 (arXiv:2106.10199), equations 1 to 5. They compare the whole with the
    biases of some layers; with a budget, the pruner's scores decide which of them train.

    Args:
        budget: the share of the biases, as single numbers, that train at sparsity 0, chosen by the
            pruner; a sparsity leaves that share of the budget out. None trains all, and nothing is
            prunable.
    """

    budget: float | None = None

    def __post_init__(self) -> None:
        if self.budget is not None and not 0 < self.budget <= 1:
            raise ConfigError(f"adapter.budget={self.budget:g}: must be above 0 and at most 1")

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Make the biases trainable, or name those that a pruner may choose from.

        Raises:
            SiteError: the architecture has no biases, or, with a budget, one of them is in a module
                of which it is not known that it adds its bias to its output.
            ConfigError: the budget is less than half a weight.
        """
        backbone = {id(parameter) for parameter in list_backbone_parameters(model)}
        names = [
            name
            for name, parameter in model.named_parameters()
            if id(parameter) in backbone and name.endswith(".bias") and ".pooler." not in name
        ]
        if not names:
            raise build_bias_error(model.config.model_type)
        if self.budget is None:
            return freeze_backbone(model, adapter=names, prunable=())
        for name in names:
            module = model.get_submodule(name.removesuffix(".bias"))
            if not isinstance(module, _ADD_THEIR_BIAS):
                raise SiteError(f"{name} is the bias of a {type(module).__name__}, not of a layer")
        count = round(self.budget * sum(model.get_parameter(name).numel() for name in names))
        if count == 0:
            raise ConfigError(f"adapter.budget={self.budget:g}: is less than one weight")
        return replace(freeze_backbone(model, names, prunable=names), budget=count)
