"""Training steps as CUDA graphs of forward and backward pass: a prototype, for bench_gpu.py.

A graph replays recorded kernels without the CPU, but only for one shape. The number of tokens of a
packed batch is rounded up by a further sequence of padding, whose label is ignored; the sequences'
offsets are a tensor, so that batches of the same total share a graph. Without a GPU the same steps
run as they are, which tests the rounding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from sparsead.tasks.contract import Collator
from sparsead.training.packing import PackingCollator

_IGNORED = -100
_ROUNDED_LENGTH = 64
_WARM_UP = 3

Shape = tuple[int, int]
"""Number of tokens of a packed batch, and length to which its sequences are padded."""


class GraphedSteps:
    """The steps of one model, with a graph for each shape."""

    def __init__(
        self,
        model: Any,
        padded: Collator,
        packing: Collator,
        rows: list[list[dict[str, Any]]],
        rounded: int,
        precision: str,
    ) -> None:
        """Take a model in training and the rows of each batch.

        Args:
            model: the unpadded model, on its device; without dropout.
            padded: the task's collator.
            packing: the collator that `unpad` returned.
            rows: the rows of each batch.
            rounded: the number of tokens is rounded up to a multiple of this.
            precision: "fp32" or "bf16".
        """
        assert isinstance(packing, PackingCollator), "the batches are padded"
        self.rows = rows
        self.captures = model.device.type == "cuda"
        self._model, self._rounded, self._precision = model, rounded, precision
        self._padded = padded
        self._trained = [p for p in model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(self._trained, lr=1e-4)
        self._batches: dict[Shape, Any] = {}
        self._losses: dict[Shape, Tensor] = {}
        self._graphs: dict[Shape, Any] = {}
        for parameter in self._trained:
            parameter.grad = torch.zeros_like(parameter)

    @property
    def shapes(self) -> int:
        """The number of shapes so far."""
        return len(self._batches)

    def step(self, rows: list[dict[str, Any]]) -> float:
        """Run one step, and return its loss."""
        shape, batch = self._batch(rows)
        if shape not in self._batches:
            self._batches[shape] = send_to_device(batch, self._model.device)
            if self.captures:
                self._capture(shape)
        if self.captures:
            _copy(batch, self._batches[shape])
            self._graphs[shape].replay()
        else:
            self._losses[shape] = self._forward_and_backward(batch)
        self._optimizer.step()
        return float(self._losses[shape])

    def _batch(self, rows: list[dict[str, Any]]) -> tuple[Shape, Any]:
        """Return a packed batch whose last sequence fills it up to a rounded number of tokens."""
        lengths = [len(row["input_ids"]) for row in rows]
        total = -(-(sum(lengths) + 1) // self._rounded) * self._rounded
        filling = total - sum(lengths)
        longest = -(-max(*lengths, filling) // _ROUNDED_LENGTH) * _ROUNDED_LENGTH
        fill = {"input_ids": [rows[0]["input_ids"][0]] * filling, "attention_mask": [1] * filling}
        if "token_type_ids" in rows[0]:
            fill["token_type_ids"] = [0] * filling
        batch = PackingCollator(_Fixed(self._padded, longest))([*rows, fill | {"labels": _IGNORED}])
        # A graph keeps the numbers that are no tensors: the length must hold for all its batches.
        batch["packing"] = replace(batch["packing"], longest=longest)
        return (total, longest), batch

    def _forward_and_backward(self, batch: Any) -> Tensor:
        for parameter in self._trained:
            assert parameter.grad is not None
            parameter.grad.zero_()
        bf16 = self._precision == "bf16"
        device = self._model.device.type
        with torch.autocast(device, torch.bfloat16, enabled=bf16, cache_enabled=False):
            loss: Tensor = self._model(**batch).loss
        loss.backward()
        return loss.detach()

    def _capture(self, shape: Shape) -> None:
        """Record forward and backward pass on the batch whose tensors later batches fill."""
        batch = self._batches[shape]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._forward_and_backward(batch)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._losses[shape] = self._forward_and_backward(batch)
        self._graphs[shape] = graph


class _Fixed:
    """Pads all batches to one length, which is a part of a graph's shape."""

    def __init__(self, collator: Collator, length: int) -> None:
        self._collator = collator
        self._length = length

    def __call__(self, rows: list[Any]) -> Any:
        batch = self._collator(rows)
        return {name: self._lengthened(values) for name, values in batch.items()}

    def _lengthened(self, values: Tensor) -> Tensor:
        if values.dim() < 2:
            return values
        return torch.nn.functional.pad(values, (0, self._length - values.shape[1]))


def _copy(batch: Any, into: Any) -> None:
    """Copy a batch's tensors, those of its packing included, into the tensors of a graph."""
    for name, value in batch.items():
        if isinstance(value, Tensor):
            into[name].copy_(value, non_blocking=True)
    packing, held = batch["packing"], into["packing"]
    for name in ("true", "packed", "unpacked", "offsets", "sequences"):
        getattr(held, name).copy_(getattr(packing, name), non_blocking=True)
