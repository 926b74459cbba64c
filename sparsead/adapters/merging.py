"""Folding adapters into the backbone's weights."""

from __future__ import annotations

import torch
from torch import nn

from sparsead.adapters.contract import Mergeable


@torch.no_grad()
def merge(model: nn.Module) -> list[str]:
    """Fold every `Mergeable` adapter of `model` into its layer, in place.

    Afterwards these layers have no adapter, and the same outputs as before in eval mode.

    Returns:
        The names of the layers that had such an adapter.
    """
    merged = []
    for name, layer in list(model.named_modules()):
        adapter = dict(layer.named_children()).get("adapter")
        if isinstance(adapter, Mergeable):
            adapter.merge_into(layer)
            del layer.adapter
            merged.append(name)
    return merged
