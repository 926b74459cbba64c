"""What a run computes in, and what its frozen weights are kept in."""

from __future__ import annotations

import torch
from torch import nn

from sparsead.errors import DeviceError


def resolve_precision(precision: str, device: str) -> str:
    """Return "fp32" or "bf16"; auto takes bf16 where the device has instructions for it.

    Raises:
        DeviceError: bf16 was asked for on a GPU without it.
    """
    computes_in_bf16 = _gpu_computes_in_bf16() if device == "cuda" else _cpu_computes_in_bf16()
    if precision == "bf16" and device == "cuda" and not computes_in_bf16:
        raise DeviceError("precision=bf16: this GPU does not compute in bf16; use precision=fp32")
    if precision == "auto":
        return "bf16" if computes_in_bf16 else "fp32"
    return precision


def store_frozen(model: nn.Module, precision: str) -> None:
    """Keep the weights that do not train in what they are computed in, once and for all steps.

    What trains, and with it the optimiser's state, stays in fp32 under autocast; so do
    LayerNorms, which sum many small terms. Scores are taken before this, in fp32.
    """
    if precision != "bf16":
        return
    for module in model.modules():
        if not isinstance(module, nn.LayerNorm):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(torch.bfloat16)


def _gpu_computes_in_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _cpu_computes_in_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
