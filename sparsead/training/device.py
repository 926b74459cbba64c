"""The device that a run computes on, and the peak memory of a run."""

from __future__ import annotations

import gc
import os
import platform
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sparsead.errors import ConfigError, DeviceError
from sparsead.errors.display import one_line
from sparsead.training.allocator import return_freed_memory

_PACKAGES = ("sparsead", "torch", "transformers", "datasets", "accelerate", "hydra-core", "numpy")
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
"""The variable that cuBLAS needs to be deterministic; torch refuses to go on without it."""
_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def resolve_device(device: str) -> str:
    """Return "cpu", "cuda" or "mps"; auto chooses CUDA if there is such a GPU, else the CPU.

    Raises:
        DeviceError: torch does not see the requested GPU.
    """
    if device == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device=mps: torch sees no GPU of Apple here; use device=cpu or auto")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise DeviceError("device=cuda: torch sees no CUDA device here; use device=cpu or auto")
    if device == "auto":
        return "cuda" if available else "cpu"
    return device


@contextmanager
def deterministic_algorithms(wanted: bool, device: str) -> Iterator[None]:
    """Let the block use deterministic algorithms only; afterwards torch is set as before.

    Args:
        wanted: whether to; if not, nothing changes.
        device: the device of the run; only CUDA has others.

    Raises:
        ConfigError: the device is another, or an operation has no deterministic algorithm.
    """
    if not wanted:
        yield
        return
    if device != "cuda":
        raise ConfigError(
            f"protocol.deterministic=true: is for CUDA, and this run is on {device}; leave it out"
        )
    before = torch.are_deterministic_algorithms_enabled()
    cublas = os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "determinis" not in str(error):
            raise
        raise ConfigError(f"protocol.deterministic=true: {one_line(str(error))}") from error
    finally:
        torch.use_deterministic_algorithms(before)
        os.environ[_CUBLAS] = cublas


def describe_device(device: str) -> dict[str, Any]:
    """Return the device's kind and name, for the record."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu"
    return {"kind": device, "name": name, "threads": torch.get_num_threads()}


def reset_peak_memory(device: str) -> None:
    """Reset the peak memory, because the runs of a sweep share one process.

    The memory of earlier runs is freed first: their models are in reference cycles, which only the
    garbage collector frees. On systems that cannot reset the peak, the peak of a run is that of its
    process so far.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif os.access(_RESET, os.W_OK):
        return_freed_memory()
        with suppress(OSError):
            _RESET.write_text("5")


def peak_memory(device: str) -> int:
    """Return the peak memory in bytes: that of the GPU, or on a CPU that of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    # Not ru_maxrss, which Linux inherits from the parent process.
    peak = _PEAK.search(_STATUS.read_text("utf-8")) if _STATUS.exists() else None
    if peak is not None:
        return int(peak[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def describe_environment(device: str, precision: str) -> dict[str, Any]:
    """Return the environment of a run: device, precision, peak memory so far and versions."""
    return {
        "device": describe_device(device),
        "precision": precision,
        "peak_memory_bytes": peak_memory(device),
        "python": platform.python_version(),
        "cuda": torch.version.cuda if device == "cuda" else None,
        "packages": {package: version(package) for package in _PACKAGES},
    }
