"""Which device a run computes on, and how much of its memory it took."""

from __future__ import annotations

import gc
import os
import platform
import re
import resource
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sparsead.errors import DeviceError
from sparsead.training.allocator import return_freed_memory

_PACKAGES = ("sparsead", "torch", "transformers", "datasets", "accelerate", "hydra-core", "numpy")
_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


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


def reset_peak_memory(device: str) -> None:
    """Measure the peak of memory from now on: a sweep's runs share one process.

    What earlier runs used is freed first: their models are in cycles, which only the garbage
    collector finds, in its own time. Where the system cannot be told to measure anew, a run's peak
    is its process's until then.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif os.access(_RESET, os.W_OK):
        return_freed_memory()
        with suppress(OSError):
            _RESET.write_text("5")


def peak_memory(device: str) -> int:
    """Return the most bytes that were in use: the GPU's, or the process's own on the CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    # ru_maxrss is at least that of the process that began this one, where Linux says better
    peak = _PEAK.search(_STATUS.read_text("utf-8")) if _STATUS.exists() else None
    if peak is not None:
        return int(peak[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def describe_environment(device: str, precision: str) -> dict[str, Any]:
    """Return what a run was done on: device, precision, peak of memory so far, versions."""
    return {
        "device": describe_device(device),
        "precision": precision,
        "peak_memory_bytes": peak_memory(device),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in _PACKAGES},
    }
