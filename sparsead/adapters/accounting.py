"""Parameter accounting: what the paper's #Param column counts, and what it leaves out."""

from __future__ import annotations

from typing import Any

from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.contract import CountsFlops
from sparsead.backbones.loading import count_parameters


def count_adapter_costs(adapted: AdaptedModel, removed: int, stored_bytes: int) -> dict[str, Any]:
    """Return the counts of one run.

    Args:
        adapted: the model, with its adapter in it.
        removed: number of weights that pruning removed.
        stored_bytes: size of the file that holds the adapter and the head.

    Returns:
        backbone, adapter, head: numbers of parameters before pruning. A pooler counts both for the
            backbone, which it comes with, and for the head, which it trains with. Of the frozen
            parts of the adapter, which earlier runs trained, only nonzero weights count.
        nominal: number of kept adapter weights divided by that of the backbone's parameters, as in
            the paper's #Param; the head does not count.
        trainable_nonzero: number of weights that train: kept adapter weights, and those of the
            head unless it is frozen.
        stored_bytes: as given.
        added_flops_per_token: multiplications and additions that the adapter's matrices add to a
            forward pass, 2 per weight and token unless the module's `flops` says otherwise.
            Pruned weights count as well, also those of units that bottlenecks do not compute. None
            if a library computes with them, see `AdaptedModel`.
    """
    sizes = {name: p.numel() for name, p in adapted.model.named_parameters()}
    backbone = count_parameters(adapted.model.config)
    trained = sum(sizes[name] for name in adapted.adapter)
    adapter = trained + _nonzero(adapted)
    head = sum(sizes[name] for name in adapted.head)
    trained_head = head if adapted.head_trains else 0
    return {
        "backbone": backbone,
        "adapter": adapter,
        "head": head,
        "nominal": (adapter - removed) / backbone,
        "trainable_nonzero": trained - removed + trained_head,
        "stored_bytes": stored_bytes,
        "added_flops_per_token": _count_flops(adapted) if adapted.counts_flops else None,
    }


def _count_flops(adapted: AdaptedModel) -> int:
    sizes = {name: adapted.model.get_parameter(name).numel() for name in _matrices(adapted)}
    return sum(size * _flops(adapted, name) for name, size in sizes.items())


def _matrices(adapted: AdaptedModel) -> list[str]:
    """Return the matrices that the adapter adds, not those of the backbone that it trains."""
    added = (name for name in (*adapted.frozen, *adapted.adapter) if ".adapter." in name)
    return [name for name in added if adapted.model.get_parameter(name).dim() == 2]


def _flops(adapted: AdaptedModel, name: str) -> int:
    place, _, matrix = name.partition(".adapter.")
    module = adapted.model.get_submodule(f"{place}.adapter")
    return module.flops.get(matrix, 2) if isinstance(module, CountsFlops) else 2


def _nonzero(adapted: AdaptedModel) -> int:
    frozen = [adapted.model.get_parameter(name) for name in adapted.frozen]
    return sum(int(parameter.count_nonzero()) for parameter in frozen)
