"""Count a run's parameters, stored bytes and FLOPs without loading its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from sparsead.adapters.accounting import count_adapter_costs
from sparsead.assembly.build import (
    build_adapter,
    build_task,
    insert_adapter,
    removed_share,
    weights_metadata,
)
from sparsead.backbones.loading import skeleton
from sparsead.config.groups import BackboneSpec
from sparsead.config.run import RunSpec
from sparsead.pruning.storage import sparse_size
from sparsead.runs.identity import compute_identity
from sparsead.runs.prerequisites import list_sources
from sparsead.tasks.contract import Task


def count_costs(spec: RunSpec) -> dict[str, Any]:
    """Return the counts that the run's record would hold under `parameters`.

    See `sparsead.adapters.accounting.count_adapter_costs` for the keys.

    Raises:
        SparseadError: an option is unknown, or the adapter cannot be inserted into the backbone.
    """
    adapter, task = build_adapter(spec), build_task(spec)
    adapted = insert_adapter(spec, adapter, _shapes(spec, task))
    state = adapted.model.state_dict()
    shapes = {name: tuple(state[name].shape) for name in adapted.stored}
    prunable = sum(state[name].numel() for name in adapted.prunable)
    removed = round(removed_share(spec, adapted) * prunable)
    metadata = weights_metadata(spec, compute_identity(spec), _fingerprint(spec.backbone))
    stored = sparse_size(shapes, adapted.prunable, removed, metadata)
    return count_adapter_costs(adapted, removed, stored)


def _shapes(spec: RunSpec, task: Task) -> PreTrainedModel:
    """Return the model without weights, on the meta device.

    A run with sources is built on the CPU instead, because the zeros in the sources' weights have
    to be counted, and a tensor on the meta device has no values.
    """
    device = "cpu" if list_sources(spec) else "meta"
    return skeleton(spec.backbone, task.head, task.head_options, device)


def _fingerprint(backbone: BackboneSpec) -> Mapping[str, str]:
    """Return a placeholder fingerprint, as long as the real one that the weights file stores.

    Weights that have not been downloaded, or are pickled, are assumed to be one file.
    """
    return dict.fromkeys(_weight_files(backbone), 64 * "0")


def _weight_files(backbone: BackboneSpec) -> Sequence[str]:
    if backbone.path is not None:
        safe = Path(backbone.path).glob("*.safetensors")
        return sorted(file.name for file in safe) or [SAFE_WEIGHTS_NAME]
    return [SAFE_WEIGHTS_NAME] if backbone.hub or backbone.package else []
