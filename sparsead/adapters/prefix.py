"""Prefix tuning: trainable keys and values before those of the sequence, in all attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.contract import ADAPTERS
from sparsead.adapters.initialisation import initialise
from sparsead.backbones.attention import attend_to_prefixes
from sparsead.backbones.contract import architectures
from sparsead.backbones.sites import site_modules
from sparsead.config.registry import bind_options
from sparsead.config.values.adapters import check_prefix
from sparsead.errors import ConfigError

_PARAMETERS = ("key", "value")


class Prefix(nn.Module):
    """`parameter_scale` times the trained keys and values of an attention module, (l, width).

    `uses` says how many of a token's queries are compared with each key, for the count of FLOPs.
    """

    def __init__(self, length: int, width: int, scale: float, queries: int) -> None:
        super().__init__()
        self.parameter_scale = scale
        self.flops = dict.fromkeys(_PARAMETERS, 2 * queries)
        self.key = nn.Parameter(torch.empty(length, width))
        self.value = nn.Parameter(torch.empty(length, width))
        self.seen = False

    def forward(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prefix's keys and values, each (heads, l, width of a head).

        Args:
            key: the sequence's keys, (batch, heads, n, width of a head).
            value: the sequence's values, likewise.
        """
        self.seen = True
        scale = self.parameter_scale
        return _by_head(scale * self.key, key), _by_head(scale * self.value, value)


@dataclass(frozen=True)
class PrefixOptions:
    """The options of prefixes besides their length, in the adapters `prefix` and `mam`.

    Attributes:
        prune: whether prefixes are prunable.
        scale: the stored parameter is P / scale, which multiplies the effective learning rate of
            the prefix P by `scale`. Adam moves each parameter by about the learning rate per step;
            a learning rate that is high enough for P is too high for the head. Pruners score P
            itself, so that the scale changes no mask.
    """

    prune: bool = True
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_prefix({"prefix": {"scale": self.scale}})


@ADAPTERS.register("prefix")
@dataclass(frozen=True, kw_only=True)
class PrefixAdapter:
    """Attention over [P_k; K] and [P_v; V] instead of K and V, in every attention module.

    Li and Liang, 2021 (arXiv:2101.00190), in the form of He et al., 2021 (arXiv:2110.04366),
    equation 4. P_k and P_v are parameters, not the output of a network as in Li and Liang, so that
    they can be pruned. They are drawn from N(0, 0.02²).

    Args:
        bottleneck: l, the number of keys and of values.
        prefix: fields of PrefixOptions.
    """

    bottleneck: int
    prefix: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._options()

    def _options(self) -> PrefixOptions:
        return bind_options("adapter.prefix", PrefixOptions, self.prefix)()

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Put a prefix into every attention module of the model and freeze the backbone.

        Raises:
            SiteError: the architecture's attention does not support prefixes.
        """
        options = self._options()
        places = site_modules(model, "attention")
        attend_to_prefixes(model, prefix="adapter")
        size = (self.bottleneck, _width(model), options.scale, _count_queries(model))
        for module in places.values():
            module.add_module("adapter", Prefix(*size))
            module.register_forward_hook(_check_seen)
        names = [f"{place}.adapter.{name}" for place in places for name in _PARAMETERS]
        initialise(model, names, init="bert", seed=seed)
        with torch.no_grad():
            for name in names:
                model.get_parameter(name).div_(options.scale)
        return freeze_backbone(model, names, names if options.prune else ())


def _width(model: PreTrainedModel) -> int:
    """Return the summed width of the key heads, which may differ from the hidden size."""
    config = model.config
    heads = config.num_attention_heads
    head = getattr(config, architectures()[config.model_type].head_width, None)
    keys = getattr(config, "num_key_value_heads", None) or heads
    return int(keys * (head or config.hidden_size // heads))


def _count_queries(model: PreTrainedModel) -> int:
    """Return the number of query heads that share a key head, with grouped-query attention."""
    heads = model.config.num_attention_heads
    return int(heads // (getattr(model.config, "num_key_value_heads", None) or heads))


def _check_seen(module: nn.Module, _inputs: Any, _output: Any) -> None:
    """Stop if the module attended without its prefix, by another attention function."""
    prefix = cast(Prefix, module.adapter)
    if not prefix.seen:
        raise ConfigError(
            "adapter: attention ignored the prefixes; an attention function that replaces the "
            "prefixed one must call it"
        )
    prefix.seen = False


def _by_head(states: Tensor, like: Tensor) -> Tensor:
    return states.view(len(states), like.shape[1], like.shape[3]).transpose(0, 1)
