"""Parameter accounting: what the paper's #Param column counts, and what it leaves out."""

from __future__ import annotations

from typing import Any

from sparsead.adapters.adapted import AdaptedModel
from sparsead.backbones.loading import count_parameters


def parameter_accounting(adapted: AdaptedModel, removed: int, stored_bytes: int) -> dict[str, Any]:
    """Return the counts of one run.

    Args:
        adapted: the model, with its adapter in it.
        removed: number of weights that pruning removed.
        stored_bytes: size of the file that holds the adapter and the head.

    Returns:
        backbone, adapter, head: numbers of parameters, dense. A pooler is in two of them: it came
            with the backbone, and it trains with the head.
        nominal: share of the backbone that the kept adapter weights make, as in the paper's
            #Param, head excluded.
        trainable_nonzero: weights that train: kept adapter weights and the head.
        stored_bytes: as given.
        added_flops_per_token: multiplications and additions that the adapter's matrices, each used
            once, add to a forward pass; pruned weights cost the same, since the products stay
            dense.
    """
    parameters = dict(adapted.model.named_parameters())
    sizes = {name: parameter.numel() for name, parameter in parameters.items()}
    backbone = count_parameters(adapted.model.config)
    adapter = sum(sizes[name] for name in adapted.adapter)
    head = sum(sizes[name] for name in adapted.head)
    added = [name for name in (*adapted.frozen, *adapted.adapter) if ".adapter." in name]
    return {
        "backbone": backbone,
        "adapter": adapter,
        "head": head,
        "nominal": (adapter - removed) / backbone,
        "trainable_nonzero": adapter - removed + head,
        "stored_bytes": stored_bytes,
        "added_flops_per_token": 2
        * sum(sizes[name] for name in added if parameters[name].ndim > 1),
    }
