"""Sparse fine-tuning: a share of the backbone's own weights trains, chosen at initialisation."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.backbones.places import check_distinct
from sparsead.backbones.sites import linear_modules
from sparsead.config.compose import compose
from sparsead.config.values.adapters import check_budget
from sparsead.errors import ConfigError


@ADAPTERS.register("sparse")
@dataclass(frozen=True)
class SparseAdapter:
    """Train those weights of linear layers that the pruner scores highest; freeze the others.

    With pruner=random this is Random Masking (Xu and Zhang, 2024, arXiv:2405.02596); with a
    salience it is SPEFT with a static mask (Liu et al., 2025, arXiv:2412.13488), the FISH mask
    (Sung et al., 2021, arXiv:2111.09839) or, layer by layer, SHiRA (Bhardwaj et al., 2024,
    arXiv:2406.13175). Nothing is added to the model, so that it is as fast as the backbone.

    Args:
        budget: how many weights train at sparsity 0: as many as the weights of another adapter,
            such as "houlsby:64", which is its name and its bottleneck, or a share of the weights of
            `sites`, such as 0.001. A sparsity leaves that share of the budget out.
        sites: kinds of linear layer, fields of `sparsead.backbones.contract.Sites`. A layer that
            is at none of them, such as `up_proj` of Llama, cannot be chosen.
    """

    budget: str | float
    sites: Sequence[str]

    def __post_init__(self) -> None:
        check_budget(vars(self))

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Name the weights that a pruner may choose from; nothing is added.

        Raises:
            SiteError: the architecture has no such site.
            ConfigError: a site's modules are not linear layers, two sites are one module, or there
                are fewer weights than the budget.
        """
        why = "adapter=sparse trains weights of linear layers"
        layers = [name for site in self.sites for name in linear_modules(model, site, why)]
        check_distinct(model.config.model_type, self.sites)
        names = [f"{layer}.weight" for layer in layers]
        names = list(dict.fromkeys(names))
        adapted = freeze_backbone(model, names, prunable=names)
        total = sum(model.get_parameter(name).numel() for name in names)
        return replace(adapted, budget=self._count(model, total))

    def _count(self, model: PreTrainedModel, total: int) -> int:
        if isinstance(self.budget, str):
            count = _size(self.budget, model)
        else:
            count = round(self.budget * total)
        if not 0 < count <= total:
            raise ConfigError(
                f"adapter.budget={self.budget}: is {count} weights; the sites have {total}"
            )
        return count


def _size(budget: str, model: PreTrainedModel) -> int:
    """Return how many parameters an adapter, given as NAME:BOTTLENECK, has in this backbone."""
    name, _, bottleneck = budget.partition(":")
    try:
        spec = compose([f"adapter={name}", f"adapter.bottleneck={bottleneck}", "pruner=none"])
        with torch.device("meta"):
            empty = type(model)(deepcopy(model.config))  # prefixes change the one they get
        other = ADAPTERS.bind(spec.adapter.method, spec.adapter.options)()
        counted = other.insert(empty, 0)
    except ConfigError as error:
        raise ConfigError(f"adapter.budget={budget}: {error}") from error
    return sum(empty.get_parameter(name).numel() for name in counted.adapter)
