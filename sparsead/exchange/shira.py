"""peft's format of SHiRA: the differences of some of a layer's own weights, and their places.

For each linear layer it has r · (rows + columns) differences, with one r for all layers. A layer of
which fewer weights train gets further places, at which the difference is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsead.errors import ConfigError
from sparsead.exchange.parts import check_parts

Array = npt.NDArray[Any]

_PREFIX = "base_model.model."
_DIFFERENCES, _PLACES = "shira_weight", "shira_indices"


def choose_rank(counts: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the smallest r with which every layer has room for its weights.

    Args:
        counts: for each layer, how many of its weights train.
        shapes: the shape of each layer's matrix.

    Raises:
        ConfigError: with this r, a layer would have more places than its matrix has weights.
    """
    r = max(ceil(count / sum(shapes[layer])) for layer, count in counts.items())
    for layer in counts:
        rows, columns = shapes[layer]
        if r * (rows + columns) > rows * columns:
            raise ConfigError(
                "peft's SHiRA stores r * (rows + columns) weights of each layer, with one r for "
                f"all layers; here r is {r}, but {layer} has only {rows * columns} weights: let "
                "fewer weights train in the layer where most do"
            )
    return r


def to_shira(values: Array, indices: Array, base: Array, r: int) -> dict[str, Array]:
    """Return SHiRA's tensors of a layer.

    Args:
        values: the trained weights, (k,).
        indices: where they are in the flattened matrix, (k,).
        base: the backbone's matrix, (rows, columns).
        r: from `choose_rank`.

    Returns:
        `shira_weight`, the differences from the backbone, (r · (rows + columns),), and
        `shira_indices`, their rows and columns, (2, r · (rows + columns)).
    """
    rows, columns = base.shape
    unchanged = np.setdiff1d(np.arange(base.size), indices)[: r * (rows + columns) - len(indices)]
    places = np.concatenate([indices, unchanged])
    differences = np.zeros(len(places), np.float32)
    differences[: len(indices)] = values - base.reshape(-1)[indices]
    order = np.argsort(places)
    places = places[order]
    return {
        _DIFFERENCES: differences[order],
        _PLACES: np.stack([places // columns, places % columns]).astype(np.int32),
    }


def from_shira(
    theirs: Mapping[str, Array], matrices: Mapping[str, Array]
) -> dict[str, tuple[Array, Array]]:
    """Return which weights of each layer an adapter of SHiRA changes, and what they become.

    A place at which the difference is zero, as in layers that are filled up, is not among them.

    Args:
        theirs: the folder's tensors, as floats.
        matrices: by layer, the backbone's matrix, (rows, columns), before it is changed.

    Returns:
        By layer, the indices in the flattened matrix in rising order, (k,), int64, and the values
        there, (k,), float32; layers that are not changed are left out.

    Raises:
        ConfigError: the folder changes another layer, has another part, or its places are not those
            of a matrix.
    """
    layers = {
        key.removeprefix(_PREFIX).rpartition(".")[0]: key.rpartition(".")[0]
        for key in theirs
        if key.endswith(f".{_DIFFERENCES}")
    }
    for layer in layers:
        if layer not in matrices:
            raise ConfigError(f"it changes {layer}, which is at none of this run's adapter.sites")
    check_parts(
        theirs, {f"{key}.{part}" for key in layers.values() for part in (_DIFFERENCES, _PLACES)}
    )
    found = {}
    for layer, key in layers.items():
        differences = theirs[f"{key}.{_DIFFERENCES}"]
        places = theirs.get(f"{key}.{_PLACES}", np.zeros((0, 0)))
        indices = _flatten_places(layer, places, len(differences), matrices[layer])
        changed = differences != 0
        order = np.argsort(indices[changed])
        chosen, change = indices[changed][order], differences[changed][order]
        if len(chosen):
            found[layer] = chosen, matrices[layer].reshape(-1)[chosen] + change
    if not found:
        raise ConfigError("it changes no weight")
    return found


def _flatten_places(layer: str, places: Array, count: int, matrix: Array) -> Array:
    """Return the indices in the flattened matrix of (row, column) pairs, which are checked."""
    rows, columns = matrix.shape
    fit = places.shape == (2, count) and (places == np.floor(places)).all()
    flat: Array = np.zeros(0, np.int64)
    if fit and (places >= 0).all() and (places < [[rows], [columns]]).all():
        row, column = places.astype(np.int64)
        flat = row * columns + column
    if len(np.unique(flat)) != count:
        raise ConfigError(
            f"its places in {layer} are not those of {count} weights of a matrix of {rows} rows "
            f"and {columns} columns; it was trained in another backbone"
        )
    return flat


def build_shira_config(
    r: int, modules: list[str], heads: list[str], task_type: str | None
) -> dict[str, Any]:
    """Return the values of peft's ShiraConfig for a run; all others keep peft's defaults.

    Args:
        r: from `choose_rank`.
        modules: names of the layers.
        heads: names of the modules that are trained in full.
        task_type: peft's, or None.
    """
    return {
        "peft_type": "SHIRA",
        "task_type": task_type,
        "r": r,
        "target_modules": modules,
        "modules_to_save": heads or None,
        "inference_mode": True,
    }
