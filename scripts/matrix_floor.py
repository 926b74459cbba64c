"""Time the matrix products of a training step alone: a lower bound for the time of the step."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

REPEATS = 10

Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]
"""Shape, strides and dtype of a matrix."""
Product = tuple[Callable[..., Tensor], tuple[Layout, ...]]
"""The function that multiplies, and the layouts of its matrices."""
_PRODUCTS: dict[Any, Callable[..., Tensor]] = {
    torch.ops.aten.mm.default: torch.mm,
    torch.ops.aten.addmm.default: torch.mm,
    torch.ops.aten.bmm.default: torch.bmm,
}


def floor_seconds(step: Callable[[], object], device: str) -> float:
    """Return the summed seconds of the products of one step, each timed on random matrices."""
    products = _Products()
    with products:
        step()
    return sum(count * _seconds(product, device) for product, count in products.counts.items())


class _Products(TorchDispatchMode):
    """Counts the products of forward and backward pass by function, shapes, strides and dtypes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _PRODUCTS:
            matrices = args[-2:]  # the first argument of addmm is the matrix that it adds
            self.counts[_PRODUCTS[func], tuple(_layout(matrix) for matrix in matrices)] += 1
        return func(*args, **(kwargs or {}))


def _layout(matrix: Tensor) -> Layout:
    return tuple(matrix.shape), tuple(matrix.stride()), matrix.dtype


def _seconds(product: Product, device: str) -> float:
    multiply, layouts = product
    matrices = [_random(*layout, device) for layout in layouts]

    def repeat() -> None:
        for _ in range(REPEATS):
            multiply(*matrices)

    multiply(*matrices)
    run = _graph(repeat) if device == "cuda" else repeat
    _synchronise(device)
    start = time.perf_counter()
    run()
    _synchronise(device)
    return (time.perf_counter() - start) / REPEATS


def _graph(work: Callable[[], None]) -> Callable[[], None]:
    """Record the work as a CUDA graph, so that replaying it excludes the time to launch kernels."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    graph.replay()
    return graph.replay


def _random(
    shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype, device: str
) -> Tensor:
    return torch.empty_strided(shape, stride, dtype=dtype, device=device).normal_()


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
