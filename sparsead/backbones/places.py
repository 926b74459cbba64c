"""Which places for adapters an architecture has; torch is not needed to tell."""

from __future__ import annotations

from collections.abc import Iterable

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


SEQ2SEQ, NEXT_TOKEN = "AutoModelForSeq2SeqLM", "AutoModelForCausalLM"
"""Names of the auto classes whose models generate texts, with an encoder and without."""
NO_OWN_HEAD = "the head that generates texts is the backbone's own, so that nothing would train"


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


def check_distinct(model_type: str, sites: Iterable[str]) -> None:
    """Refuse two kinds of site that are one module, which would get one adapter instead of two.

    In another architecture they may be two modules, so that the same options would give an adapter
    of another size there.

    Args:
        model_type: the name in transformers of an architecture that has an entry.
        sites: fields of `Sites` that the architecture has.

    Raises:
        ConfigError: the message names both, and the module.
    """
    first: dict[str, str] = {}
    for site in sites:
        for module in find_patterns(model_type, site):
            other = first.setdefault(module, site)
            if other != site:
                raise ConfigError(
                    f"adapter.sites: {other} and {site} are one module in {model_type}, {module}; "
                    "name one of the two"
                )


def check_linear(model_type: str, site: str) -> None:
    """Refuse a site whose modules are not linear layers, as LoRA needs them.

    Args:
        model_type: the name in transformers of an architecture that has an entry.
        site: a field of `Sites` that the architecture has.

    Raises:
        ConfigError: the message says which sites can be chosen.
    """
    entry = architectures()[model_type]
    there = [each for each in entry.linear if getattr(entry.sites, each)]
    if site in there:
        return
    choice = f"choose from {', '.join(there)}" if there else f"{model_type} has none at its sites"
    raise ConfigError(f"adapter.sites={site}: LoRA needs linear layers; {choice}")


def build_bias_error(model_type: str) -> SiteError:
    """Return the error about BitFit in an architecture without biases."""
    return SiteError(f"{model_type} has no biases")


def build_prefix_error(model_type: str) -> SiteError:
    """Return the error about prefixes in an architecture with attention of its own."""
    return SiteError(
        f"prefixes have no way into the attention of {model_type}, which does not go through "
        "transformers' attention interface"
    )


def build_head_error(backbone: str, model_type: str, head: str) -> ConfigError:
    """Return the error about a backbone that cannot have a task's head.

    Args:
        backbone: the backbone's name.
        model_type: its architecture's name in transformers.
        head: name of the transformers auto class of models with this head.
    """
    lack, others = "has no head for this task", "tiny-bart or bart-large"
    if head == SEQ2SEQ:
        lack = "has no decoder to generate text"
    if head == NEXT_TOKEN:
        lack, others = "is not known to continue texts", "tiny-llama or qwen"
    return ConfigError(
        f"backbone={backbone}: a {model_type} {lack} ({head}); take another, such as "
        f"backbone={others}"
    )


def build_insertion_error(adapter: str, backbone: str, reason: SiteError) -> SiteError:
    """Return the error that names the adapter and the backbone that do not fit each other."""
    return SiteError(f"adapter={adapter} cannot be inserted into backbone={backbone}: {reason}")
