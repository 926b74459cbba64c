"""Keys and values of one's own in front of those that a model attends to.

transformers routes attention through a table of functions by name. What is entered there puts the
prefix of the attending module in front, and calls the function that was active before.
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

from sparsead.backbones.sites import SiteError
from sparsead.errors import ConfigError

_PREFIXED = "sparsead_prefixed_"
_DENSE_MASKS = ("eager", "sdpa")

Attention = Callable[..., tuple[Tensor, Tensor | None]]


def attend_to_prefixes(model: PreTrainedModel, prefix: str) -> None:
    """Let every module of `model` that attends see its own prefix in front of the sequence.

    The attention function that was active stays the one that computes. The prefixes are put in
    front at each call, so that a cache of keys and values never holds them.

    Args:
        model: its attention modules without a prefix attend as before.
        prefix: name of the submodule that maps (keys, values) to the prefix's, each (heads, l,
            width of a head).

    Raises:
        SiteError: the architecture's attention does not go through transformers' interface.
        ConfigError: the active function takes masks that a prefix cannot be added to.
    """
    architecture = model.config.model_type
    if not model._can_set_attn_implementation():
        raise SiteError(
            f"prefixes have no way into the attention of {architecture}, which does not go "
            "through transformers' attention interface"
        )
    active = model.config._attn_implementation
    if active not in _DENSE_MASKS:
        raise ConfigError(
            f"adapter: prefixes cannot go in front of the attention function {active}; "
            f"choose from {', '.join(_DENSE_MASKS)}"
        )
    name = _PREFIXED + active
    AttentionInterface.register(name, PrefixedAttention(active, prefix))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[active])
    # One by one: transformers 5.17 leaves out parts with a copy of the configuration, as T5's.
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            part.set_attn_implementation(name)


@dataclass(frozen=True)
class PrefixedAttention:
    """Attention to a module's own prefix first, by the function called `active`.

    Attributes:
        active: name of an attention function of transformers'.
        prefix: name of the attending module's submodule that gives the prefix.
        function: computes in the place of the one called `active`.
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
        """Attend to the module's prefix and then to (key, value), each (batch, heads, n, width).

        A prefix has no position: relative position biases are 0 for it and unchanged for the rest.
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
    """Return the function called `active`; eager attention is each model file's own."""
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
    """Write out the causal mask that PyTorch would imply, which cannot see a prefix.

    As there, one query sees all the keys, and of several the first sees the first key alone.
    """
    given = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if given is None else given
    queries, length = query.shape[2], key.shape[2]
    if mask is not None or not causal or queries == 1:
        return mask
    return torch.ones(1, 1, queries, length, dtype=torch.bool, device=query.device).tril()


def _see_prefix(mask: Tensor | None, length: int) -> Tensor | None:
    """Let every query see the prefix: True, or 0 in a mask that is added to the scores."""
    if mask is None:
        return None
    return F.pad(mask, (length, 0), value=mask.dtype == torch.bool)
