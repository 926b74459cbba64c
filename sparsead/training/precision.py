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
"""Times as fast, at least: fast instructions give 2 or more, slow ones less than 1."""
_SIZE = 512
"""Of the matrices timed: a millisecond for a product."""
_TURNS = 20
"""Of which the fastest counts, so that other processes do not decide."""


def resolve_precision(precision: str, device: str) -> str:
    """Return "fp32" or "bf16"; auto takes bf16 where the device has fast instructions for it.

    Raises:
        DeviceError: bf16 was asked for on a GPU without it.
    """
    if precision == "auto":
        faster = _gpu_computes_in_bf16() if device == "cuda" else cpu_is_faster_in_bf16()
        return "bf16" if faster else "fp32"
    if precision == "bf16" and device == "cuda" and not _gpu_computes_in_bf16():
        raise DeviceError("precision=bf16: this GPU does not compute in bf16; use precision=fp32")
    return precision


def store_frozen(adapted: AdaptedModel, precision: str) -> None:
    """Store the backbone's frozen weights in the dtype of the computation, once for all steps.

    Adapter and head, and with them the optimiser's state, stay in fp32 under autocast; so do the
    weights of LayerNorms and RMSNorms, which sum many small terms. Scores are taken before this,
    in fp32.
    """
    if precision == "bf16":
        for parameter in _frozen(adapted):
            parameter.data = parameter.data.to(torch.bfloat16)


@contextmanager
def frozen_stored(adapted: AdaptedModel, precision: str) -> Iterator[None]:
    """Compute with `store_frozen` inside, and put the weights back."""
    before = [(parameter, parameter.data) for parameter in _frozen(adapted)]
    store_frozen(adapted, precision)
    try:
        yield
    finally:
        for parameter, weights in before:
            parameter.data = weights


def _frozen(adapted: AdaptedModel) -> Iterator[nn.Parameter]:
    trained = {*adapted.adapter, *adapted.head}
    for name, parameter in adapted.model.named_parameters():
        owner = adapted.model.get_submodule(name.rpartition(".")[0])
        if name not in trained and "Norm" not in type(owner).__name__:
            yield parameter


def _gpu_computes_in_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


@cache
def cpu_is_faster_in_bf16() -> bool:
    """Tell whether this CPU multiplies matrices faster in bf16 than in fp32; the answer is kept.

    Some processors have the instructions and are slower.
    """
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    seconds = time_products(torch.float32, torch.bfloat16)
    return seconds[torch.float32] > _WORTHWHILE * seconds[torch.bfloat16]


def time_products(*dtypes: torch.dtype) -> dict[torch.dtype, float]:
    """Return the least seconds that a product of two matrices took, by dtype, timed in turn."""
    matrices = {dtype: torch.ones(_SIZE, _SIZE, dtype=dtype) for dtype in dtypes}
    seconds = dict.fromkeys(dtypes, math.inf)
    for dtype in dtypes * _TURNS:
        start = perf_counter()
        torch.mm(matrices[dtype], matrices[dtype])
        seconds[dtype] = min(seconds[dtype], perf_counter() - start)
    return seconds
