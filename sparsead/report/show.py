"""`sparsead show`: what a run's masks kept, where, and how much of it another run kept too."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparsead.errors import RecordError
from sparsead.pruning.storage import WEIGHTS_FILE, Mask, load_sparse
from sparsead.report.formats import rich_table
from sparsead.runs.record import RESULT_FILE, RunRecord

Masks = Mapping[str, Mask]

_STACKS = ("encoder", "decoder")
_SITES = {
    "attention.output.dropout": "attention_output",
    "self_attn.out_proj": "attention_output",
    "encoder_attn.out_proj": "cross_attention_output",
    "output.dropout": "ffn_output",
    "fc2": "ffn_output",
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
}
_DOWN = ("down", "lora_A")
_UP = ("up", "lora_B")
_NAMED = 5
_DEFINITION = (
    "A unit is dead if its whole row of down or its whole column of up is removed. Without its "
    "row it can still pass on a constant, its bias; without its column it passes on nothing."
)
_CHANCE = (
    "Chance: what two independent masks would share that keep as many weights of each tensor. "
    "Jaccard: kept by both ÷ kept by either."
)


def main() -> None:
    """Entry point of `sparsead show`."""
    parser = argparse.ArgumentParser(prog="sparsead show", description=__doc__)
    add_run_arguments(parser)
    parser.add_argument("--against", metavar="RUN2", help="another run, to compare the masks with")
    arguments = parser.parse_args()
    record = find_run(arguments.run, arguments.outputs)
    text = summary(record)
    if arguments.against is not None:
        text += comparison(record, find_run(arguments.against, arguments.outputs))
    sys.stdout.write(text)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Let the user name a run, and the folder to look for it in."""
    named = "a run's folder, its identity or any part of its name that no other run has"
    parser.add_argument("run", metavar="RUN", help=named)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of the runs")


def find_run(run: str, outputs: Path) -> RunRecord:
    """Return the run in the folder `run`, or the one below `outputs` whose name contains `run`.

    Raises:
        RecordError: there is no such run, or more than one.
    """
    if (Path(run) / RESULT_FILE).is_file():
        return RunRecord.read(Path(run))
    names = sorted(path.parent.name for path in (outputs / "runs").glob(f"[!.]*/{RESULT_FILE}"))
    found = [name for name in names if name == run] or [name for name in names if run in name]
    if len(found) == 1:
        return RunRecord.read(outputs / "runs" / found[0])
    if found:
        more = ", …" if len(found) > _NAMED else ""
        listed = ", ".join(found[:_NAMED]) + more
        raise RecordError(f"{run}: is part of the name of {len(found)} runs ({listed})")
    near = _nearest(run, names)
    hint = f"; did you mean {near}?" if near else ""
    raise RecordError(f"{run}: is no run, nor part of the name of one in {outputs / 'runs'}{hint}")


def stored_masks(record: RunRecord) -> dict[str, Mask]:
    """Return the run's masks by tensor name, True = kept; none where nothing was prunable.

    Raises:
        RecordError: the run's weights cannot be read.
    """
    return load_sparse(record.folder / WEIGHTS_FILE).masks


def describe(record: RunRecord) -> str:
    """Return in a few words what was trained: task, backbone, adapter, pruner and seed.

    Raises:
        RecordError: the run's result lacks one of them.
    """
    with _reading(record):
        config = record.result["config"]
        task, backbone, adapter, pruner = (
            config[group]["name"] for group in ("task", "backbone", "adapter", "pruner")
        )
        bottleneck = config["adapter"].get("options", {}).get("bottleneck")
        size = "" if bottleneck is None else f" r={bottleneck}"
        sparsity = f"{pruner} at sparsity {record.result['sparsity']['requested']:.4g}"
        return " · ".join([task, backbone, f"{adapter}{size}", sparsity, f"seed {config['seed']}"])


class Place(NamedTuple):
    """Where a tensor is: encoder or decoder ("" if unsaid), layer, site and side."""

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


def place(name: str) -> Place:
    """Read a tensor's place off its name.

    The side is the last component but for `weight`, the layer the first that is a number, and
    the site what lies between the two.
    """
    *path, side = name.removesuffix(".weight").split(".")
    number = next((i for i, part in enumerate(path) if part.isdecimal()), None)
    before = path[: number or 0]
    stack = next((part for part in before if part in _STACKS), "")
    between = path if number is None else path[number + 1 :]
    site = ".".join(part for part in between if part != "adapter")
    layer = None if number is None else int(path[number])
    return Place(stack, layer, _SITES.get(site, site), side)


def places(names: Iterable[str]) -> dict[str, Place]:
    """Return the place of each tensor; the stack is left unsaid where all have the same."""
    found = {name: place(name) for name in names}
    if len({where.stack for where in found.values()}) == 1:
        return {name: where._replace(stack="") for name, where in found.items()}
    return found


@dataclass(frozen=True)
class Grid:
    """Weights by layer (rows) and by site and side (columns).

    `kept` and `total` are counts of shape (rows, columns); 0 of 0 where there is no tensor.
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
        """Return the grid with one more row and column, the sums, both called "all"."""
        kept, total = (
            np.block([[counts, counts.sum(1, keepdims=True)], [counts.sum(0), counts.sum()]])
            for counts in (self.kept, self.total)
        )
        return Grid([*self.rows, "all"], [*self.columns, "all"], kept, total)


def density_grid(masks: Masks) -> Grid:
    """Count kept weights by layer, site and side."""
    found = places(masks)
    rows = list(dict.fromkeys(where.row for where in sorted(found.values(), key=_depth)))
    columns = list(dict.fromkeys(where.column for where in found.values()))
    kept, total = np.zeros((2, len(rows), len(columns)), np.int64)
    for name, mask in masks.items():
        cell = rows.index(found[name].row), columns.index(found[name].column)
        kept[cell] += mask.sum()
        total[cell] += mask.size
    return Grid(rows, columns, kept, total)


class Units(NamedTuple):
    """Bottleneck units: all, those without input, those without output, and those with either."""

    units: int
    no_input: int
    no_output: int
    dead: int


def dead_units(masks: Masks) -> dict[str, Units]:
    """Count, by adapter, the bottleneck units that pruning cut off.

    Unit j has no input if row j of down, of shape (r, d), is wholly removed, and no output if
    column j of up, of shape (d, r), is. The bias of down is not pruned: a unit without input can
    still pass on a constant. A side without a mask counts as kept.
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
    """How many weights two masks keep, how many both do, and how many they would by chance.

    `expected` is kept · other_kept ÷ size: the mean over independent masks of these counts.
    """

    size: int
    kept: int
    other_kept: int
    shared: int
    expected: float

    @property
    def over_chance(self) -> float:
        """Shared ÷ expected: 1 is chance; NaN where a mask is empty."""
        return self.shared / self.expected if self.expected else float("nan")

    @property
    def jaccard(self) -> float:
        """Kept by both ÷ kept by either; NaN where both are empty."""
        return self._jaccard(self.shared)

    @property
    def chance_jaccard(self) -> float:
        """The Jaccard index if exactly the expected number were shared."""
        return self._jaccard(self.expected)

    def _jaccard(self, shared: float) -> float:
        either = self.kept + self.other_kept - shared
        return shared / either if either else float("nan")


def overlaps(masks: Masks, others: Masks) -> dict[str, Overlap]:
    """Compare the tensors that have the same name and shape in both."""
    return {
        name: _overlap(mask, others[name])
        for name, mask in masks.items()
        if name in others and others[name].shape == mask.shape
    }


def overall(compared: Iterable[Overlap]) -> Overlap:
    """Sum over tensors; what is expected by chance keeps each tensor's own density."""
    size, kept, other_kept, shared, expected = map(sum, zip(*compared, strict=True))
    return Overlap(int(size), int(kept), int(other_kept), int(shared), expected)


def summary(record: RunRecord) -> str:
    """Return for the terminal: the run, its density by place, and its dead units.

    Raises:
        RecordError: the run's result or weights cannot be read.
    """
    masks = stored_masks(record)
    if not masks:
        return f"{_header(record)}Nothing was prunable: the run has no masks.\n"
    grid = density_grid(masks).with_totals()
    kept, total = int(grid.kept[-1, -1]), int(grid.total[-1, -1])
    share = f"{100 * kept / total:.2f} %"
    counts = f"{kept:,} of {total:,} weights kept ({share}), {total - kept:,} removed"
    density = f"Density, % of weights kept\n{rich_table(*_density_table(grid))}"
    return f"{_header(record)}{counts}\n\n{density}\n{_units_text(dead_units(masks))}"


def comparison(record: RunRecord, other: RunRecord) -> str:
    """Return for the terminal: what the masks of two runs share, by tensor and overall.

    Raises:
        RecordError: a run cannot be read, or they have no tensor of the same name and shape.
    """
    compared = overlaps(stored_masks(record), stored_masks(other))
    if not compared:
        pair = f"{record.folder.name} and {other.folder.name}"
        raise RecordError(f"{pair}: have no masked tensor of the same name and shape")
    found = places(compared)
    rows = [_overlap_row(found[name], overlap) for name, overlap in compared.items()]
    rows.append(_overlap_row(Place("", None, "all", ""), overall(compared.values())))
    return f"\nAgainst {_header(other)}\n{rich_table(list(rows[0]), rows)}{_CHANCE}\n"


def _header(record: RunRecord) -> str:
    with _reading(record):
        scores = record.result["scores"].items()
        listed = " · ".join(f"{metric} {100 * score:.2f}" for metric, score in scores)
    return f"{record.folder}\n{describe(record)}\n{listed}\n"


@contextmanager
def _reading(record: RunRecord) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise RecordError(
            f"{record.folder / RESULT_FILE}: is no run's result ({reason})"
        ) from error


def _nearest(run: str, names: list[str]) -> str | None:
    identities = {name.rpartition("_")[2]: name for name in names}
    near = get_close_matches(run, [*names, *identities], n=1, cutoff=0.4)
    return identities.get(near[0], near[0]) if near else None


def _depth(where: Place) -> tuple[int, int]:
    stack = _STACKS.index(where.stack) if where.stack else -1
    return stack, -1 if where.layer is None else where.layer


def _overlap(mask: Mask, other: Mask) -> Overlap:
    kept, other_kept = int(mask.sum()), int(other.sum())
    expected = kept * other_kept / mask.size if mask.size else 0.0
    return Overlap(mask.size, kept, other_kept, int((mask & other).sum()), expected)


def _density_table(grid: Grid) -> tuple[list[str], list[dict[str, Any]]]:
    headings = ["\n".join(column.rsplit(" ", 1)) for column in grid.columns]
    rows: list[dict[str, Any]] = []
    for layer, densities in zip(grid.rows, grid.density, strict=True):
        cells = ["    –" if np.isnan(density) else _percent(density) for density in densities]
        rows.append({"layer": layer, **dict(zip(headings, cells, strict=True))})
    return ["layer", *headings], rows


def _units_text(units: Mapping[str, Units]) -> str:
    if not units:
        return ""
    count, no_input, no_output, dead = map(sum, zip(*units.values(), strict=True))
    head = f"{dead} of {count} bottleneck units are dead"
    where = places(f"{adapter}." for adapter in units)
    rows = [
        {"layer": where[f"{adapter}."].row, "site": where[f"{adapter}."].column}
        | {column.replace("_", " "): number for column, number in found._asdict().items()}
        for adapter, found in units.items()
        if found.dead
    ]
    table = rich_table(list(rows[0]), rows) if rows else ""
    detail = f": {no_input} without input, {no_output} without output" if rows else ""
    return f"{head}{detail}\n{table}{_DEFINITION}\n"


def _overlap_row(where: Place, overlap: Overlap) -> dict[str, Any]:
    return {
        "layer": where.row,
        "tensor": where.column,
        "weights": f"{overlap.size:,}",
        "kept": f"{overlap.kept:,}",
        "other kept": f"{overlap.other_kept:,}",
        "shared": f"{overlap.shared:,}",
        "chance": f"{overlap.expected:,.0f}",
        "÷ chance": f"{overlap.over_chance:.3f}",
        "Jaccard": f"{overlap.jaccard:.3f}",
        "chance Jaccard": f"{overlap.chance_jaccard:.3f}",
    }


def _percent(share: float) -> str:
    return f"{100 * share:5.1f}"
