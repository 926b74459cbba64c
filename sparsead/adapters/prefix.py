"""Prefix tuning: trainable keys and values in front of those of every attention module."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, adapted
from sparsead.adapters.initialisation import initialise
from sparsead.backbones.attention import attend_to_prefixes
from sparsead.backbones.sites import site_modules
from sparsead.errors import ConfigError, unknown_key
from sparsead.registry import ADAPTERS

_PARAMETERS = ("key", "value")
_OPTIONS = ("prune", "scale")


class Prefix(nn.Module):
    """`scale` times the trained keys and values of an attention module.

    Both are (l, heads · width of a head).
    """

    def __init__(self, length: int, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.key = nn.Parameter(torch.empty(length, width))
        self.value = nn.Parameter(torch.empty(length, width))
        self.seen = False

    def forward(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return both as (heads, l, width), like the states (batch, heads, n, width) given."""
        self.seen = True
        return _by_head(self.scale * self.key, key), _by_head(self.scale * self.value, value)


@ADAPTERS.register("prefix")
@dataclass(frozen=True, kw_only=True)
class PrefixAdapter:
    """Attention over [P_k; K] and [P_v; V] instead of K and V, in every attention module.

    Li and Liang, 2021 (arXiv:2101.00190), in the form of He et al., 2021 (arXiv:2110.04366),
    equation 4. P_k and P_v are trained themselves, not through the reparametrising network of the
    former, so that they can be pruned. They are drawn from N(0, 0.02²).

    An optimiser such as Adam moves every weight by about the learning rate, and a prefix has
    farther to go than the head, which must not go so fast. So what is trained is P / scale.

    Args:
        bottleneck: l, the number of keys and of values.
        prefix: `prune`, whether they are prunable; `scale`, by which prefixes learn faster.
    """

    bottleneck: int
    prefix: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for option in self.prefix:
            if option not in _OPTIONS:
                raise ConfigError(unknown_key(f"adapter.prefix.{option}", _OPTIONS))
        if not isinstance(self._prune, bool):
            raise ConfigError(f"adapter.prefix.prune={self._prune}: must be true or false")
        if not _is_number(self._scale) or not 0 < self._scale < math.inf:
            raise ConfigError(f"adapter.prefix.scale={self._scale}: must be a number above 0")

    @property
    def _prune(self) -> Any:
        return self.prefix.get("prune", True)

    @property
    def _scale(self) -> Any:
        return self.prefix.get("scale", 1.0)

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Put a prefix into every attention module of the model and freeze the backbone.

        Raises:
            SiteError: the architecture's attention takes no prefix.
        """
        places = site_modules(model, "attention")
        attend_to_prefixes(model, prefix="adapter")
        for module in places.values():
            module.add_module("adapter", Prefix(self.bottleneck, _width(model), self._scale))
            module.register_forward_hook(_check_seen)
        names = [f"{place}.adapter.{name}" for place in places for name in _PARAMETERS]
        initialise(model, names, init="bert", up="", seed=seed)
        with torch.no_grad():
            for name in names:
                model.get_parameter(name).div_(self._scale)
        return adapted(model, names, names if self._prune else ())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _width(model: PreTrainedModel) -> int:
    """Return the width of all heads of keys together, which is not everywhere the model's."""
    config = model.config
    heads = config.num_attention_heads
    head = getattr(config, "d_kv", None) or getattr(config, "head_dim", None)
    keys = getattr(config, "num_key_value_heads", None) or heads
    return int(keys * (head or config.hidden_size // heads))


def _check_seen(module: nn.Module, _inputs: Any, _output: Any) -> None:
    """Refuse to go on where another attention function took the place of the prefixed one."""
    prefix: Any = module.adapter
    if not prefix.seen:
        raise ConfigError(
            "adapter: prefixes were not attended to; the attention function that was put in "
            "the place of theirs must call it"
        )
    prefix.seen = False


def _by_head(states: Tensor, like: Tensor) -> Tensor:
    return states.view(len(states), like.shape[1], like.shape[3]).transpose(0, 1)
