"""The modules of a model that adapters are attached to."""

from __future__ import annotations

import re

from torch import nn
from transformers import PreTrainedModel

from sparsead.backbones.contract import architectures, sites_regex
from sparsead.backbones.places import find_patterns


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
