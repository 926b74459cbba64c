"""The files of a folder from which transformers loads a backbone's weights, and what they hold."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from sparsead.errors import SourceError
from sparsead.runs.files import check_readable

WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PLAIN = ("F64", "F32", "F16", "BF16")
"""The types in which safetensors store numbers as they are; others are codes of a quantisation."""


def list_weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers loads: `model.safetensors`, or else those of the index.

    Other safetensors in the folder, such as a copy of earlier weights, are not loaded.

    Raises:
        SourceError: the index names files outside the folder, or in folders below it.
        OSError, ValueError, KeyError: the index cannot be read.
    """
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    index = folder / _INDEX
    if not index.exists():
        return []
    check_readable(index)
    shards = {str(shard) for shard in json.loads(index.read_text("utf-8"))["weight_map"].values()}
    for shard in sorted(shards):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise SourceError(
                f"{index}: names the file of weights {shard}; name safetensors in the same folder"
            )
    return [folder / shard for shard in sorted(shards)]


def list_weights(folder: Path) -> set[str]:
    """Return the names of the weights in a folder."""
    return {name for file in list_weight_files(folder) for name in _names(file)}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights in a folder by name."""
    return {name: w for file in list_weight_files(folder) for name, w in load_file(file).items()}


def check_not_quantised(folder: Path) -> None:
    """Refuse weights that are stored as codes, which transformers would take for the weights.

    Raises:
        SourceError: a weight or a bias is not a floating-point number of at least 16 bits.
    """
    for file in list_weight_files(folder):
        with safe_open(file, "pt") as opened:
            names = list(opened.keys())
            types = [opened.get_slice(name).get_dtype() for name in names]
        for name, stored in zip(names, types, strict=True):
            if name.endswith(("weight", "bias")) and stored not in _PLAIN:
                raise SourceError(
                    f"{file}: {name} is stored as {stored}: quantised weights cannot be trained; "
                    "give them in float32, float16 or bfloat16"
                )


def _names(file: Path) -> list[str]:
    with safe_open(file, "pt") as opened:
        return list(opened.keys())
