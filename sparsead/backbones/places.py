"""Which places for adapters an architecture has; torch is not needed to tell."""

from __future__ import annotations

from sparsead.backbones.contract import architectures
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


def find_patterns(model_type: str, site: str) -> tuple[str, ...]:
    """Return the names of the modules of one kind of site, as `Sites` has them.

    Args:
        model_type: the architecture's name in transformers.
        site: a field of `Sites`, such as "attention_output".

    Raises:
        SiteError: the architecture has no entry, or no such site.
        ConfigError: the site is unknown.
    """
    if model_type not in architectures():
        raise SiteError(unknown("backbone architecture", model_type, architectures()))
    if site not in _PLACES:
        raise ConfigError(unknown("adapter.sites", site, _PLACES))
    entry = architectures()[model_type]
    patterns: tuple[str, ...] = getattr(entry.sites, site)
    if not patterns:
        reason = f": {entry.absent[site]}" if site in entry.absent else ""
        raise SiteError(f"{model_type} has no {_PLACES[site]}{reason}")
    return patterns


def cannot_be_inserted(adapter: str, backbone: str, reason: SiteError) -> SiteError:
    """Return the error that names the adapter and the backbone that do not fit each other."""
    return SiteError(f"adapter={adapter} cannot be inserted into backbone={backbone}: {reason}")
