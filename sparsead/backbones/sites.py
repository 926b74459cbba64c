"""The modules of a model that adapters are attached to."""

from __future__ import annotations

import re

from torch import nn
from transformers import PreTrainedModel

from sparsead.backbones.contract import architectures, sites_regex
from sparsead.errors import ConfigError, unknown

_PLACES = {
    "attention_output": "end of an attention sublayer",
    "ffn_output": "end of a feed-forward sublayer",
    "query": "query projection of its own",
    "key": "key projection of its own",
    "value": "value projection of its own",
    "attention_projection": "linear layer at the end of attention",
    "ffn_projection": "linear layer at the end of a feed-forward sublayer",
    "attention": "attention module",
    "ffn_input": "beginning of a feed-forward sublayer",
    "layer": "separate transformer layer",
    "attention_residual": "layer that can be computed for some of its tokens only",
    "ffn_norm": "LayerNorm after the feed-forward sublayer's residual connection",
    "positions": "module whose input is the tokens' positions",
    "ffn_sum": "layer that ends with the feed-forward sublayer's residual connection",
}


class SiteError(ConfigError):
    """An adapter method needs a site that the architecture does not have."""


def has_site(model: PreTrainedModel, site: str) -> bool:
    """Tell whether the model's architecture has an entry, and that entry names such a site.

    Args:
        model: a transformers model, with or without a head.
        site: a field of `Sites`.
    """
    entry = architectures().get(model.config.model_type)
    return entry is not None and bool(getattr(entry.sites, site))


def site_modules(model: PreTrainedModel, site: str) -> dict[str, nn.Module]:
    """Return the modules of one kind of site by their full name, in the order of the model.

    Args:
        model: a transformers model, with or without a head.
        site: a field of `Sites`, such as "attention_output".

    Raises:
        SiteError: the architecture has no entry, or no such site.
        ConfigError: the site is unknown.
    """
    model_type = model.config.model_type
    if model_type not in architectures():
        raise SiteError(unknown("backbone architecture", model_type, architectures()))
    if site not in _PLACES:
        raise ConfigError(unknown("adapter.sites", site, _PLACES))
    entry = architectures()[model_type]
    patterns: tuple[str, ...] = getattr(entry.sites, site)
    if not patterns:
        reason = f": {entry.absent[site]}" if site in entry.absent else ""
        raise SiteError(f"{model_type} has no {_PLACES[site]}{reason}")
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    found = re.compile(sites_regex(prefix + pattern for pattern in patterns))
    return {name: module for name, module in model.named_modules() if found.fullmatch(name)}
