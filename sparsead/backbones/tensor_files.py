"""Tensors of files that PyTorch pickled, which somebody else may have crafted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import torch
from torch import Tensor

from sparsead.errors.translation import translate_errors
from sparsead.runs.files import check_readable

_ZIP = b"PK\x03\x04"
"""The first bytes of a file by which torch tells that it is a zip file."""
_MOST_NAMES = 4
"""Tied weights are stored once: T5's embedding has four names."""


def read_pickled(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that PyTorch wrote, by name; it runs no code.

    No more memory is used than a small multiple of the file's size.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or holds anything but tensors with values of their own; the
            message is of one line and does not name the file.
    """
    check_readable(file)
    size = file.stat().st_size
    with translate_errors(_refuse):
        _check_unpacked_size(file, size)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ValueError("it does not hold tensors by name")
    tensors = {str(name): tensor.detach() for name, tensor in loaded.items()}
    _check_tensors(tensors, size)
    return tensors


def _refuse(reason: str) -> ValueError:
    return ValueError(
        "it is damaged, or it holds something other than tensors, which is not unpickled because "
        f"that could run code ({reason})"
    )


def _check_unpacked_size(file: Path, size: int) -> None:
    """Refuse a zip file that would be unpacked to more than itself: torch compresses nothing."""
    with file.open("rb") as stream:
        if stream.read(len(_ZIP)) != _ZIP:
            return
        with ZipFile(stream) as entries:
            if sum(entry.file_size for entry in entries.infolist()) > size:
                raise ValueError("what it holds is larger than the file")


def _check_tensors(tensors: Mapping[str, Tensor], size: int) -> None:
    """Refuse tensors that would take more memory, once copied, than a file of this size can fill.

    Raises:
        ValueError: a tensor has no plain values, or one or all together are too large.
    """
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise ValueError(f"its {name} is sparse, quantized or without values")
    sizes = [tensor.numel() * tensor.element_size() for tensor in tensors.values()]
    if max(sizes, default=0) > size:
        raise ValueError("it holds a tensor that is larger than the file")
    if sum(sizes) > _MOST_NAMES * size:
        raise ValueError("its tensors are together much larger than the file")
