"""Which device a run computes on, and how much of its memory it took."""

from __future__ import annotations

import platform
import resource
import sys
from importlib.metadata import version
from typing import Any

import torch

from sparsead.errors import DeviceError

_PACKAGES = ("sparsead", "torch", "transformers", "datasets", "accelerate", "hydra-core", "numpy")


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


def describe_device(device: str) -> dict[str, Any]:
    """Return the device's kind and name, for the record."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu"
    return {"kind": device, "name": name, "threads": torch.get_num_threads()}


def peak_memory(device: str) -> int:
    """Return the most bytes that were in use: the GPU's, or the process's own on the CPU.

    A process's figure never falls, so that of a sweep's later runs is no smaller than before.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def environment(device: str, precision: str) -> dict[str, Any]:
    """Return what a run was done on: device, precision, peak of memory so far, versions."""
    return {
        "device": describe_device(device),
        "precision": precision,
        "peak_memory_bytes": peak_memory(device),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in _PACKAGES},
    }
