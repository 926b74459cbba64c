"""Products of bf16 matrices on a CPU that has no kernels for them are computed in fp32."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

log = logging.getLogger(__name__)

_PRODUCTS = frozenset(
    (
        torch.ops.aten.mm.default,
        torch.ops.aten.bmm.default,
        torch.ops.aten.addmm.default,
        torch.ops.aten.baddbmm.default,
    )
)
"""What `nn.Linear` and attention call on a CPU, in the forward and the backward pass."""


@contextmanager
def fast_products(precision: str, device: str) -> Iterator[None]:
    """Multiply bf16 matrices fast also on a CPU that has no kernels for it; elsewhere do nothing.

    Without such kernels torch multiplies bf16 matrices some ten times as slowly as fp32 ones. In
    this context they are converted to fp32, multiplied, and the product is rounded to bf16. The
    kernels do the same: they take bf16 factors, add up their products in fp32, and round the sum.
    So the results agree up to the order in which the terms are added.

    Args:
        precision: "fp32" or "bf16".
        device: `cpu`, `cuda` or `mps`.
    """
    if precision != "bf16" or device != "cpu" or cpu_has_bf16_kernels():
        yield
        return
    _tell()
    with InFp32():  # type: ignore[no-untyped-call]
        yield


def cpu_has_bf16_kernels() -> bool:
    """Tell whether torch multiplies bf16 matrices on this CPU by kernels of oneDNN.

    A build of torch without oneDNN, such as that for macOS, does not have the operator that tells.
    """
    available = torch.backends.mkldnn.is_available()
    return bool(available and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def _tell() -> None:
    """Log once in a process how products are computed."""
    log.info("precision=bf16: this CPU has no kernels for it; bf16 matrices are multiplied in fp32")


class InFp32(TorchDispatchMode):
    """Computes products of bf16 matrices in fp32, and rounds them to bf16."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func`, with fp32 factors if it is a product of bf16 matrices."""
        if func in _PRODUCTS and args[-1].dtype is torch.bfloat16:
            in_fp32 = (each.float() for each in args)
            return func(*in_fp32, **(kwargs or {})).to(torch.bfloat16)
        return func(*args, **(kwargs or {}))
