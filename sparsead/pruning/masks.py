"""Masks: which weights are kept, and how the removed ones stay exactly zero."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from typing_extensions import TypedDict

from sparsead.pruning.budget import NotByScore
from sparsead.pruning.enforcement import keep_removed_at_zero
from sparsead.runs.checked import check_type
from sparsead.runs.files import write_atomically
from sparsead.runs.result import NotByScore as Counts


class _Known(TypedDict):
    data_read: bool
    not_by_score: Counts


class Masks(dict[str, Tensor]):
    """Boolean masks by parameter name, True where the weight is kept.

    `data_read` tells whether the pruner read any batch; `not_by_score` tells how much of the masks
    the scores did not decide.
    """

    def __init__(
        self,
        masks: Mapping[str, Tensor],
        *,
        data_read: bool = False,
        not_by_score: NotByScore | None = None,
    ) -> None:
        super().__init__(masks)
        self.data_read = data_read
        self.not_by_score = not_by_score or NotByScore()

    @property
    def total(self) -> int:
        """Number of prunable weights, N."""
        return sum(mask.numel() for mask in self.values())

    @property
    def removed(self) -> int:
        """Number of weights removed."""
        return self.total - sum(int(mask.sum()) for mask in self.values())

    @property
    def sparsity(self) -> float:
        """Realised share of weights removed; 0 if no weight is prunable."""
        return self.removed / self.total if self.total else 0.0

    def summary(self) -> dict[str, Any]:
        """Return realised counts and sparsity, over all and by tensor, as plain values."""
        by_tensor = {
            name: {"total": mask.numel(), "removed": mask.numel() - int(mask.sum())}
            for name, mask in self.items()
        }
        for counts in by_tensor.values():
            counts["sparsity"] = counts["removed"] / counts["total"]  # type: ignore[assignment]
        return {
            "total": self.total,
            "removed": self.removed,
            "realised": self.sparsity,
            "not_by_score": asdict(self.not_by_score),
            "by_tensor": by_tensor,
        }

    def save(self, path: Path) -> None:
        """Write the masks to a safetensors file, atomically."""
        tensors = {name: mask.cpu() for name, mask in self.items()}
        known = {"data_read": self.data_read, "not_by_score": asdict(self.not_by_score)}
        write_atomically(path, save(tensors, {"masks": json.dumps(known)}))

    @classmethod
    def load(cls, path: Path) -> Masks:
        """Read masks that `save` wrote.

        Raises:
            ValueError: the file has no such metadata.
        """
        with safe_open(path, "pt") as file:
            masks = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            known = check_type(json.loads((file.metadata() or {}).get("masks", "{}")), _Known)
        counts = known["not_by_score"]
        not_by_score = NotByScore(counts["minimum"], counts["ties"], tuple(counts["at_minimum"]))
        return cls(masks, data_read=known["data_read"], not_by_score=not_by_score)

    def enforce(self, model: nn.Module) -> None:
        """Set the removed weights of `model` to 0 now, and keep them at exactly 0 from now on.

        They stay 0 under every optimiser of PyTorch's, and in copies and files of the model (see
        `sparsead.pruning.enforcement`). The forward pass is dense, except in modules that skip
        removed weights (`SkipsRemoved`).

        Raises:
            PruningError: a parameter has another shape than its mask.
        """
        keep_removed_at_zero(model, self)
        for place, module in model.named_modules():
            if isinstance(module, SkipsRemoved):
                module.leave_out_removed(self._within(f"{place}." if place else ""))

    def _within(self, place: str) -> dict[str, Tensor]:
        return {n.removeprefix(place): mask for n, mask in self.items() if n.startswith(place)}


@runtime_checkable
class SkipsRemoved(Protocol):
    """A module that can skip computations of removed weights."""

    def leave_out_removed(self, masks: Mapping[str, Tensor]) -> None:
        """Skip what these masks allow; they are keyed by the parameters' names in the module."""
