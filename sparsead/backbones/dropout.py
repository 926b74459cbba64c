"""Dropout from one random byte per value, because PyTorch's draws on a CPU are slow."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BYTES = 256


class Dropout(nn.Dropout):
    """Dropout with PyTorch's distribution, reproducible by seed, but with other random draws."""

    def forward(self, x: Tensor) -> Tensor:
        """In training, return `x` with each value 0 with probability p, else x / (1 - p)."""
        return drop(x, self.p) if self.training else x


def draw_by_the_byte(model: nn.Module) -> None:
    """Replace every plain nn.Dropout of `model` by ours; functional dropout stays as it is."""
    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            module.__class__ = Dropout  # keeps its mode, its hooks and its names


def drop(x: Tensor, p: float) -> Tensor:
    """Return `x` with each value 0 with probability `p`, else x / (1 - p)."""
    if not 0 < p < 1 or x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, p)
    kept = torch.from_numpy(_kept(x.numel(), p).view(np.uint8))  # booleans are slower to cast
    return x * kept.view(x.shape).to(x.dtype).mul_(1 / (1 - p))


def _kept(count: int, p: float) -> npt.NDArray[np.bool_]:
    """Draw which values are kept, from torch's CPU generator.

    A value is dropped if its byte is below floor(256 p). If the byte equals floor(256 p), the value
    is dropped with probability 256 p - floor(256 p), so that the total probability is exactly p.
    """
    drawn = _random_bytes(count)
    threshold = math.floor(_BYTES * p)
    kept = drawn > threshold
    undecided = np.flatnonzero(drawn == threshold)
    draws = torch.rand(len(undecided), dtype=torch.float64).numpy()
    kept[undecided] = draws >= _BYTES * p - threshold
    return kept


def _random_bytes(count: int) -> npt.NDArray[np.uint8]:
    words = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.uint8).numpy()[:count]
