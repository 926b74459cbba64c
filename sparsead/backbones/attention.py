"""Attention with prefixes: additional keys and values before those of the sequence.

transformers looks attention functions up by name. The functions that are registered here add the
attention module's prefix to the keys and values, and call the function that was active before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparsead.backbones.places import build_prefix_error
from sparsead.errors import ConfigError

_PREFIXED = "sparsead_prefixed_"
_DENSE_MASKS = ("eager", "sdpa")

Attention = Callable[..., tuple[Tensor, Tensor | None]]


def attend_to_prefixes(model: PreTrainedModel, prefix: str) -> None:
    """Let every attention module of `model` attend to its own prefix before the sequence.

    The attention function that is active still computes attention. The prefixes are added at each
    call, so that a key-value cache never holds them.

    Args:
        model: a model; attention modules without a prefix attend as before.
        prefix: name of the submodule that maps (keys, values) to the prefix's keys and values,
            each (heads, l, width of a head).

    Raises:
        SiteError: the architecture's attention does not use transformers' attention interface.
        ConfigError: the active function takes masks that cannot be extended by a prefix.
    """
    if not model._can_set_attn_implementation():
        raise build_prefix_error(model.config.model_type)
    active = model.config._attn_implementation
    if active not in _DENSE_MASKS:
        raise ConfigError(
            f"adapter: prefixes cannot go in front of the attention function {active}; "
            f"choose from {', '.join(_DENSE_MASKS)}"
        )
    name = _PREFIXED + active
    AttentionInterface.register(name, PrefixedAttention(active, prefix))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[active])
    # Set for each part: transformers 5.17 leaves out parts that have a copy of the configuration,
    # as in T5.
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            part.set_attn_implementation(name)


@dataclass(frozen=True)
class PrefixedAttention:
    """An attention function that adds the module's own prefix and calls the function `active`.

    Attributes:
        active: name of one of transformers' attention functions.
        prefix: name of the attention module's submodule that gives the prefix.
        function: the function to call instead of `active`, if there is one.
    """

    active: str
    prefix: str
    function: Attention | None = None

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend to the module's prefix followed by (key, value), each (batch, heads, n, width).

        A prefix has no position: its relative position biases are 0, all others are unchanged.
        """
        attend = self.function or _function(self.active, module)
        own = getattr(module, self.prefix, None)
        if own is None:
            return attend(module, query, key, value, attention_mask, **options)
        mask = _explicit_causal(module, query, key, attention_mask, options)
        keys, values = own(key, value)
        length = keys.shape[1]
        key, value = (
            torch.cat([added.to(states.dtype).expand(len(states), -1, -1, -1), states], dim=2)
            for added, states in ((keys, key), (values, value))
        )
        if options.get("position_bias") is not None:
            options["position_bias"] = F.pad(options["position_bias"], (length, 0))
        return attend(module, query, key, value, _see_prefix(mask, length), **options)


def _function(active: str, module: nn.Module) -> Attention:
    """Return the function named `active`; each model file has its own eager attention."""
    own = sys.modules[type(module).__module__].eager_attention_forward
    function: Attention = ALL_ATTENTION_FUNCTIONS.get_interface(active, own)
    return function


def _explicit_causal(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    options: dict[str, Any],
) -> Tensor | None:
    """Return an explicit causal mask, because PyTorch's implicit one does not allow for a prefix.

    As in PyTorch, a single query attends to all keys; of several queries, query i attends to the
    keys up to i.
    """
    given = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if given is None else given
    queries, length = query.shape[2], key.shape[2]
    if mask is not None or not causal or queries == 1:
        return mask
    return torch.ones(1, 1, queries, length, dtype=torch.bool, device=query.device).tril()


def _see_prefix(mask: Tensor | None, length: int) -> Tensor | None:
    """Let every query attend to the prefix: True in a boolean mask, 0 in an additive one."""
    if mask is None:
        return None
    return F.pad(mask, (length, 0), value=mask.dtype == torch.bool)
