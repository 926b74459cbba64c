"""The structure of masks: density by layer and site, dead bottleneck units, overlap of two runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparsead.backbones.contract import architectures
from sparsead.pruning.storage import Mask

Masks = Mapping[str, Mask]

_STACKS = ("encoder", "decoder")
_DOWN = ("down", "lora_A")
_UP = ("up", "lora_B")


class Position(NamedTuple):
    """The position of a tensor in the model.

    Attributes:
        stack: encoder or decoder; empty if the model has only one of them.
        layer: index of the layer; None outside the layers.
        site: the sublayer that the adapter is inserted at, such as `ffn_output` or `query`.
        side: the tensor within the adapter, such as `down` or `lora_A`.
    """

    stack: str
    layer: int | None
    site: str
    side: str

    @property
    def row(self) -> str:
        """The stack and the layer."""
        return f"{self.stack} {'' if self.layer is None else self.layer}".strip() or "–"

    @property
    def column(self) -> str:
        """The site and the side."""
        return f"{self.site} {self.side}".strip()


def locate(name: str) -> Position:
    """Return the position of a tensor, which its name determines.

    The side is the last component of the name, apart from `weight`; the layer is the first
    component that is a number. The site is the one that an architecture declares for the module,
    or, if none does, the module's name within the layer.
    """
    *path, side = name.removesuffix(".weight").split(".")
    number = next((i for i, part in enumerate(path) if part.isdecimal()), None)
    before = path[: number or 0]
    stack = next((part for part in before if part in _STACKS), "")
    between = path if number is None else path[number + 1 :]
    site = ".".join(part for part in between if part != "adapter")
    if number is None:
        return Position(stack, None, site, side)
    return Position(stack, int(path[number]), _site_kind(before, site) or site, side)


def locate_all(names: Iterable[str]) -> dict[str, Position]:
    """Return the position of each tensor; the stack is left empty if all tensors share it."""
    found = {name: locate(name) for name in names}
    if len({where.stack for where in found.values()}) == 1:
        return {name: where._replace(stack="") for name, where in found.items()}
    return found


@dataclass(frozen=True)
class Grid:
    """Numbers of weights, by layer (rows) and by site and side (columns).

    `kept` and `total` have the shape (rows, columns); both are 0 where the model has no tensor.
    """

    rows: list[str]
    columns: list[str]
    kept: npt.NDArray[np.int64]
    total: npt.NDArray[np.int64]

    @property
    def density(self) -> npt.NDArray[np.float64]:
        """Share of weights kept, NaN where there is no tensor."""
        density = np.full(self.total.shape, np.nan)
        np.divide(self.kept, self.total, out=density, where=self.total > 0)
        return density

    def with_totals(self) -> Grid:
        """Return the grid with one more row and one more column, "all", which hold the sums."""
        kept, total = (
            np.block([[counts, counts.sum(1, keepdims=True)], [counts.sum(0), counts.sum()]])
            for counts in (self.kept, self.total)
        )
        return Grid([*self.rows, "all"], [*self.columns, "all"], kept, total)


def build_density_grid(masks: Masks) -> Grid:
    """Count kept weights by layer, site and side."""
    found = locate_all(masks)
    rows = list(dict.fromkeys(where.row for where in sorted(found.values(), key=_depth)))
    columns = list(dict.fromkeys(where.column for where in found.values()))
    kept, total = np.zeros((2, len(rows), len(columns)), np.int64)
    for name, mask in masks.items():
        cell = rows.index(found[name].row), columns.index(found[name].column)
        kept[cell] += mask.sum()
        total[cell] += mask.size
    return Grid(rows, columns, kept, total)


class Units(NamedTuple):
    """Numbers of bottleneck units: all, without input, without output, and dead (without one)."""

    units: int
    no_input: int
    no_output: int
    dead: int


def count_dead_units(masks: Masks) -> dict[str, Units]:
    """Count, for each adapter, the bottleneck units that pruning disconnected.

    Unit j has no input if row j of the down projection, of shape (r, d), is entirely removed, and
    no output if column j of the up projection, of shape (d, r), is. It is dead if it lacks input or
    output. Biases are not pruned, so that a unit without input still outputs a constant. A
    projection without a mask counts as kept.
    """
    no_input, no_output = {}, {}
    for name, mask in masks.items():
        adapter, _, side = name.removesuffix(".weight").rpartition(".")
        if side in _DOWN and mask.ndim == 2:
            no_input[adapter] = ~mask.any(axis=1)
        elif side in _UP and mask.ndim == 2:
            no_output[adapter] = ~mask.any(axis=0)
    units = {}
    for adapter, unit in (no_output | no_input).items():
        alive = np.zeros_like(unit)
        without_input = no_input.get(adapter, alive)
        without_output = no_output.get(adapter, alive)
        counts = (without_input, without_output, without_input | without_output)
        units[adapter] = Units(unit.size, *(int(count.sum()) for count in counts))
    return units


class Overlap(NamedTuple):
    """The overlap of two masks of one tensor.

    Attributes:
        size: number of weights of the tensor.
        kept: weights that the first mask keeps.
        other_kept: weights that the second mask keeps.
        shared: weights that both masks keep.
        expected: kept · other_kept ÷ size, the expected value of `shared` for independent masks.
    """

    size: int
    kept: int
    other_kept: int
    shared: int
    expected: float

    @property
    def over_chance(self) -> float:
        """Shared ÷ expected: 1 for independent masks; NaN if a mask is empty."""
        return self.shared / self.expected if self.expected else float("nan")

    @property
    def jaccard(self) -> float:
        """The Jaccard index, kept by both ÷ kept by at least one; NaN if both masks are empty."""
        return self._jaccard(self.shared)

    @property
    def chance_jaccard(self) -> float:
        """The Jaccard index of masks that share exactly the expected number of weights."""
        return self._jaccard(self.expected)

    def _jaccard(self, shared: float) -> float:
        either = self.kept + self.other_kept - shared
        return shared / either if either else float("nan")


def measure_overlaps(masks: Masks, others: Masks) -> dict[str, Overlap]:
    """Return the overlap of each tensor that has the same name and shape in both runs."""
    return {
        name: _overlap(mask, others[name])
        for name, mask in masks.items()
        if name in others and others[name].shape == mask.shape
    }


def sum_overlaps(compared: Iterable[Overlap]) -> Overlap:
    """Return the sum over tensors; `expected` is also summed, so it uses each tensor's density."""
    size, kept, other_kept, shared, expected = map(sum, zip(*compared, strict=True))
    return Overlap(int(size), int(kept), int(other_kept), int(shared), expected)


def _site_kind(before: Sequence[str], site: str) -> str | None:
    """Return the kind of site that an architecture declares for a module, or None if none does.

    Args:
        before: components of the module's full name that precede the layer's index. The declared
            patterns are relative to the bare backbone, so that they may lack the first components.
        site: the module's name within the layer.
    """
    names = _site_kinds()
    patterns = (".".join([*before[start:], "{i}", site]) for start in range(len(before) + 1))
    return next((names[pattern] for pattern in patterns if pattern in names), None)


@cache
def _site_kinds() -> dict[str, str]:
    entries = architectures().values()
    return {pattern: name for entry in entries for pattern, name in entry.site_names().items()}


def _depth(where: Position) -> tuple[int, int]:
    stack = _STACKS.index(where.stack) if where.stack else -1
    return stack, -1 if where.layer is None else where.layer


def _overlap(mask: Mask, other: Mask) -> Overlap:
    kept, other_kept = int(mask.sum()), int(other.sum())
    expected = kept * other_kept / mask.size if mask.size else 0.0
    return Overlap(mask.size, kept, other_kept, int((mask & other).sum()), expected)
