"""Which device and which precision a run computes in."""

from __future__ import annotations

import platform
from typing import Any

import torch

from sparsead.errors import DeviceError


def resolve_device(device: str) -> str:
    """Return "cpu" or "cuda"; auto takes the GPU where there is one.

    Raises:
        DeviceError: cuda was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise DeviceError("device=cuda: torch sees no CUDA device here; use device=cpu or auto")
    if device == "auto":
        return "cuda" if available else "cpu"
    return device


def resolve_precision(precision: str, device: str) -> str:
    """Return "fp32" or "bf16"; auto takes bf16 on a GPU that computes in it.

    Raises:
        DeviceError: bf16 was asked for on a GPU without it.
    """
    gpu_bf16 = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and device == "cuda" and not gpu_bf16:
        raise DeviceError("precision=bf16: this GPU does not compute in bf16; use precision=fp32")
    if precision == "auto":
        return "bf16" if gpu_bf16 else "fp32"
    return precision


def describe_device(device: str) -> dict[str, Any]:
    """Return the device's kind and name, for the record."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu"
    return {"kind": device, "name": name, "threads": torch.get_num_threads()}
