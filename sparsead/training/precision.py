"""The precision that a run computes in, and the dtype of its frozen weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import perf_counter

import torch
from torch import nn

from sparsead.adapters.adapted import AdaptedModel
from sparsead.errors import DeviceError

_WORTHWHILE = 1.2
"""Speed-up from which bf16 is used: fast instructions give 2 or more, slow ones less than 1."""
_SIZE = 512
"""Number of rows and columns of the timed matrices; one product takes about a millisecond."""
_TURNS = 20
"""Number of times that each product is timed; the fastest counts, as other processes disturb it."""


def resolve_precision(precision: str, device: str) -> str:
    """Return "fp32" or "bf16"; auto chooses bf16 if the device has fast instructions for it.

    Raises:
        DeviceError: bf16 was requested on a GPU that does not support it, or on one of Apple.
    """
    if device == "mps":
        if precision == "bf16":
            raise DeviceError("precision=bf16: works on a CPU or with CUDA; use precision=fp32")
        return "fp32"
    if precision == "auto":
        faster = _gpu_computes_in_bf16() if device == "cuda" else cpu_is_faster_in_bf16()
        return "bf16" if faster else "fp32"
    if precision == "bf16" and device == "cuda" and not _gpu_computes_in_bf16():
        raise DeviceError("precision=bf16: this GPU does not compute in bf16; use precision=fp32")
    return precision


def cast_frozen(adapted: AdaptedModel, precision: str) -> None:
    """Convert the backbone's frozen weights to the dtype of the computation, once for all steps.

    The adapter and the head stay in fp32 under autocast, and therefore the optimiser's state too.
    So do the weights of LayerNorms and RMSNorms, which sum many small terms. Pruning scores are
    computed before this, in fp32.
    """
    if precision == "bf16":
        for parameter in _frozen(adapted):
            parameter.data = parameter.data.to(torch.bfloat16)


@contextmanager
def frozen_stored(adapted: AdaptedModel, precision: str) -> Iterator[None]:
    """Apply `cast_frozen` for the duration of the block, and restore the weights afterwards."""
    before = [(parameter, parameter.data) for parameter in _frozen(adapted)]
    cast_frozen(adapted, precision)
    try:
        yield
    finally:
        for parameter, weights in before:
            parameter.data = weights


def _frozen(adapted: AdaptedModel) -> Iterator[nn.Parameter]:
    stored = {*adapted.frozen, *adapted.adapter, *adapted.head}
    for name, parameter in adapted.model.named_parameters():
        owner = adapted.model.get_submodule(name.rpartition(".")[0])
        if name not in stored and "Norm" not in type(owner).__name__:
            yield parameter


def _gpu_computes_in_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


@cache
def cpu_is_faster_in_bf16() -> bool:
    """Tell whether this CPU multiplies matrices faster in bf16 than in fp32; measured only once.

    Some processors have the instructions for bf16, and are slower with them.
    """
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    seconds = time_products(torch.float32, torch.bfloat16)
    return seconds[torch.float32] > _WORTHWHILE * seconds[torch.bfloat16]


def time_products(*dtypes: torch.dtype) -> dict[torch.dtype, float]:
    """Return for each dtype the seconds of the fastest product of two matrices.

    The dtypes are timed in turn, so that other processes disturb all of them alike.
    """
    matrices = {dtype: torch.ones(_SIZE, _SIZE, dtype=dtype) for dtype in dtypes}
    seconds = dict.fromkeys(dtypes, math.inf)
    for dtype in dtypes * _TURNS:
        start = perf_counter()
        torch.mm(matrices[dtype], matrices[dtype])
        seconds[dtype] = min(seconds[dtype], perf_counter() - start)
    return seconds
