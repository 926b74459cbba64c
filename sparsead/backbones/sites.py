"""The modules of a model that adapters are attached to."""

from __future__ import annotations

import re
from dataclasses import fields

from torch import nn
from transformers import PreTrainedModel

from sparsead.backbones.contract import Sites, architectures, sites_regex
from sparsead.backbones.places import find_patterns
from sparsead.errors import ConfigError


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
    patterns = find_patterns(model.config.model_type, site)
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    found = re.compile(sites_regex(prefix + pattern for pattern in patterns))
    return {name: module for name, module in model.named_modules() if found.fullmatch(name)}


def linear_modules(model: PreTrainedModel, site: str, why: str) -> dict[str, nn.Linear]:
    """Return the modules of one kind of site, all of them linear layers.

    Args:
        model: as for `site_modules`.
        site: as for `site_modules`.
        why: what needs linear layers, such as "LoRA needs linear layers".

    Raises:
        SiteError: the architecture has no entry, or no such site.
        ConfigError: the site is unknown, or its modules are not linear layers.
    """
    found = {}
    for name, module in site_modules(model, site).items():
        if not isinstance(module, nn.Linear):
            raise ConfigError(
                f"adapter.sites={site}: {why}, and {name} is a {type(module).__name__}; "
                f"{_choice_of_sites(model)}"
            )
        found[name] = module
    return found


def _choice_of_sites(model: PreTrainedModel) -> str:
    there = [field.name for field in fields(Sites) if has_site(model, field.name)]
    linear = [
        site
        for site in there
        if all(isinstance(module, nn.Linear) for module in site_modules(model, site).values())
    ]
    if linear:
        return f"choose from {', '.join(linear)}"
    return f"{model.config.model_type} has none at its sites"
