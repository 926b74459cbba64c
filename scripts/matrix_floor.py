"""The time of a step's matrix products alone, which is a lower bound for the step."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

REPEATS = 10

Product = tuple[Callable[..., Tensor], tuple[tuple[Any, ...], ...]]
_PRODUCTS: dict[Any, Callable[..., Tensor]] = {
    torch.ops.aten.mm.default: torch.mm,
    torch.ops.aten.addmm.default: torch.mm,
    torch.ops.aten.bmm.default: torch.bmm,
}


def floor_seconds(step: Callable[[], object], device: str) -> float:
    """Return the seconds of the products of one step, each timed alone on random matrices."""
    with _Products() as products:
        step()
    return sum(count * _seconds(product, device) for product, count in products.counts.items())


class _Products(TorchDispatchMode):
    """Counts the products by function, shapes, strides and dtypes, the backward pass's too."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _PRODUCTS:
            matrices = args[-2:]  # before them is what addmm adds
            self.counts[_PRODUCTS[func], tuple(_layout(matrix) for matrix in matrices)] += 1
        return func(*args, **(kwargs or {}))


def _layout(matrix: Tensor) -> tuple[Any, ...]:
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
    """Return what does the work on a GPU without the time that a CPU takes to ask for it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    graph.replay()
    return graph.replay


def _random(shape: Any, stride: Any, dtype: torch.dtype, device: str) -> Tensor:
    return torch.empty_strided(shape, stride, dtype=dtype, device=device).normal_()


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
