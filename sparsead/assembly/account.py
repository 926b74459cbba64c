"""Count a run's parameters, stored bytes and FLOPs without loading its weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils import SAFE_WEIGHTS_NAME

from sparsead.adapters.accounting import count_adapter_costs
from sparsead.adapters.contract import ADAPTERS
from sparsead.assembly.build import (
    build_adapter,
    build_task,
    insert_adapter,
    removed_share,
    weights_metadata,
)
from sparsead.backbones.loading import build_skeleton
from sparsead.config.groups import BackboneSpec
from sparsead.config.run import RunSpec
from sparsead.pruning.storage import sparse_size
from sparsead.runs.identity import compute_identity
from sparsead.runs.prerequisites import list_sources


def count_costs(spec: RunSpec) -> dict[str, Any]:
    """Return the counts that the run's record would hold under `parameters`.

    See `sparsead.adapters.accounting.count_adapter_costs` for the keys.

    Raises:
        SparseadError: an option is unknown, or the adapter cannot be inserted into the backbone.
    """
    adapter, task = build_adapter(spec), build_task(spec)
    device = _device(spec)
    model = build_skeleton(spec.backbone, task.head, task.head_options, device)
    with torch.device("cpu" if _may_read_values(spec.adapter.method) else device):
        adapted = insert_adapter(spec, adapter, model)
    state = adapted.model.state_dict()
    shapes = {name: tuple(state[name].shape) for name in adapted.stored}
    prunable = sum(state[name].numel() for name in adapted.prunable)
    removed = round(removed_share(spec, adapted) * prunable)
    metadata = weights_metadata(spec, compute_identity(spec), _fingerprint(spec.backbone))
    if adapted.budget is None:
        stored = sparse_size(shapes, adapted.prunable, removed, metadata)
    else:
        chosen = dict(_shapes_of_chosen(shapes, adapted.prunable, prunable - removed))
        stored = sparse_size(chosen, (), 0, metadata)
    return count_adapter_costs(adapted, removed, stored)


def _shapes_of_chosen(
    shapes: Mapping[str, Sequence[int]], prunable: Collection[str], kept: int
) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield the shapes, in units of 4 bytes, of what `train_chosen` stores; the rest as it is.

    How the kept weights are spread over the layers is known only once they are scored: the same
    share of each is assumed, which changes the size of the file's header by a few bytes.
    """
    total = sum(math.prod(shapes[name]) for name in prunable)
    for name, shape in shapes.items():
        if name not in prunable:
            yield name, shape
            continue
        size, layer = math.prod(shape), name.rpartition(".")[0]
        chosen = round(kept * size / total)
        yield f"{layer}.adapter.values", (chosen,)
        yield f"{layer}.adapter.places", (size // 32 if 32 * kept > total else chosen,)


def _device(spec: RunSpec) -> str:
    """Return "meta", where tensors have a shape and no values, for nearly every run.

    A run with sources is built on the CPU instead, because the zeros in the sources' weights have
    to be counted.
    """
    return "cpu" if list_sources(spec) else "meta"


def _may_read_values(method: str) -> bool:
    """Tell whether an adapter is inserted by other people's code, which may read what it creates.

    BOFT of peft does, and an adapter of the user's own may.
    """
    return method == "peft" or method not in ADAPTERS.entries()


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
