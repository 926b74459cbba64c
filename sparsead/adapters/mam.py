"""The mix-and-match adapter: prefixes in attention, parallel adapters at the FFN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.parallel import ParallelAdapter
from sparsead.adapters.prefix import PrefixAdapter
from sparsead.backbones.sites import site_modules
from sparsead.config.values.adapters import check_length


@ADAPTERS.register("mam")
@dataclass(frozen=True, kw_only=True)
class MAMAdapter(ParallelAdapter):
    """`parallel` and `prefix` in one model, by default with as many weights in their matrices.

    He et al., 2021 (arXiv:2110.04366), section 4.6. A parallel adapter has 2·r·d weights per FFN,
    biases not counted, and a prefix of length l has 2·l·d per attention module. Both have equally
    many with l = r · (number of FFNs) / (number of attention modules), rounded; in an encoder this
    is r.

    Args:
        bottleneck: r, the width of the parallel adapters. Their other keys are those of `parallel`.
        length: l, the number of keys and of values of a prefix; None: as many weights as above.
        prefix: fields of PrefixOptions, as for the adapter `prefix`.
    """

    length: int | None = None
    prefix: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._prefixes(self.bottleneck)
        check_length({"length": self.length})

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Attach both and freeze the backbone.

        Raises:
            SiteError: the architecture does not support one of the two.
        """
        in_attention = self._prefixes(self.length or self._equal_length(model)).insert(model, seed)
        at_ffn = super().insert(model, seed)
        return freeze_backbone(
            model,
            (*in_attention.adapter, *at_ffn.adapter),
            (*in_attention.prunable, *at_ffn.prunable),
        )

    def _equal_length(self, model: PreTrainedModel) -> int:
        attentions = site_modules(model, "attention")
        ffns = site_modules(model, "ffn_output")
        return max(1, round(self.bottleneck * len(ffns) / len(attentions)))

    def _prefixes(self, length: int) -> PrefixAdapter:
        return PrefixAdapter(bottleneck=length, prefix=self.prefix)
