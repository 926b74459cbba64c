"""A run's masks as text: density by layer and site, dead units, overlap with another run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from sparsead.config.seeds import Seeds
from sparsead.errors import RecordError
from sparsead.errors.display import escape_controls
from sparsead.pruning.storage import WEIGHTS_FILE, Mask, load_weights
from sparsead.report.formats import to_rich
from sparsead.report.mask_structure import (
    Grid,
    Overlap,
    Position,
    Units,
    build_density_grid,
    count_dead_units,
    locate_all,
    measure_overlaps,
    sum_overlaps,
)
from sparsead.report.screen import wrap
from sparsead.report.signed import format_score
from sparsead.runs.record import RESULT_FILE, RunRecord

_DEFINITION = (
    "A unit is dead if its whole row of down (LoRA: A) or its whole column of up (B) is removed.",
    "Without its row it still outputs a constant, from its bias; without its column, nothing.",
)
_CHANCE = (
    "Chance: the expected overlap of two independent masks that keep as many weights per tensor.",
    "Jaccard: kept by both ÷ kept by at least one.",
)


def load_masks(record: RunRecord) -> dict[str, Mask]:
    """Return the run's masks by tensor name, True = kept; empty if no tensor was prunable.

    Raises:
        RecordError: the run's weights cannot be read, or are not there.
    """
    if not has_weights(record):
        raise RecordError(
            f"{record.folder}: has no weights, as a record of an archive has none, so that its "
            "masks are not known"
        )
    return load_weights(record).masks


def has_weights(record: RunRecord) -> bool:
    """Tell whether a run's weights are beside its record."""
    return (record.folder / WEIGHTS_FILE).is_file()


def describe_run(record: RunRecord) -> str:
    """Return a short description of a run: task, backbone, adapter, pruner, sparsity and seed.

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
        seed = f"seed {Seeds.read(config)}"
        return " · ".join([task, backbone, f"{adapter}{size}", sparsity, seed])


def summarize_masks(record: RunRecord) -> str:
    """Return a text on a run's masks: the run, its density by layer and site, and its dead units.

    Raises:
        RecordError: the run's result or weights cannot be read.
    """
    masks = load_masks(record)
    if not masks:
        return f"{summarize_run(record)}The run has no masks, because no tensor was prunable.\n"
    grid = build_density_grid(masks).with_totals()
    kept, total = int(grid.kept[-1, -1]), int(grid.total[-1, -1])
    share = f"{100 * kept / total:.2f} %"
    counts = f"{kept:,} of {total:,} weights kept ({share}), {total - kept:,} removed"
    density = f"Density, % of weights kept\n{to_rich(*_density_table(grid))}"
    return f"{summarize_run(record)}{counts}\n\n{density}\n{_units_text(count_dead_units(masks))}"


def mask_values(record: RunRecord) -> dict[str, Any]:
    """Return what `summarize_masks` says as JSON values; shares lie between 0 and 1.

    Raises:
        RecordError: the run's result or weights cannot be read.
    """
    masks = load_masks(record)
    values: dict[str, Any] = {"run": str(record.folder), "scores": record.result["scores"]}
    if not masks:
        return values | {"kept": None, "weights": None, "density": {}, "dead_units": {}}
    grid = build_density_grid(masks).with_totals()
    return values | {
        "kept": int(grid.kept[-1, -1]),
        "weights": int(grid.total[-1, -1]),
        "density": {
            layer: {
                column: float(density)
                for column, density in zip(grid.columns, densities, strict=True)
                if not np.isnan(density)
            }
            for layer, densities in zip(grid.rows, grid.density, strict=True)
        },
        "dead_units": {name: units.dead for name, units in count_dead_units(masks).items()},
    }


def compare_masks(record: RunRecord, other: RunRecord) -> str:
    """Return a text on the overlap of two runs' masks, for each tensor and overall.

    Raises:
        RecordError: a run cannot be read.
    """
    compared = measure_overlaps(load_masks(record), load_masks(other))
    if not compared:
        none = (
            "The masks are not compared: no pruned tensor of one run has the name and shape of one "
            "of the other."
        )
        return f"\nAgainst {summarize_run(other)}{_wrapped([none])}"
    found = locate_all(compared)
    rows = [_overlap_row(found[name], overlap) for name, overlap in compared.items()]
    rows.append(_overlap_row(Position("", None, "all", ""), sum_overlaps(compared.values())))
    return f"\nAgainst {summarize_run(other)}\n{to_rich(list(rows[0]), rows)}{_wrapped(_CHANCE)}"


def summarize_run(record: RunRecord) -> str:
    """Return three lines on a run: its folder, its description and its scores in percent.

    Raises:
        RecordError: the run's result lacks one of them.
    """
    with _reading(record):
        scores = record.result["scores"].items()
        listed = " · ".join(_score(*score) for score in scores)
    return escape_controls(f"{record.folder}\n{describe_run(record)}\n{listed}\n")


def _score(metric: str, score: float | None) -> str:
    return f"{metric} not defined" if score is None else f"{metric} {format_score(100 * score)}"


@contextmanager
def _reading(record: RunRecord) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise RecordError(
            f"{record.folder / RESULT_FILE}: is not the result of a run ({reason})"
        ) from error


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
    where = locate_all(f"{adapter}." for adapter in units)
    rows = [
        {"layer": where[f"{adapter}."].row, "site": where[f"{adapter}."].column}
        | {column.replace("_", " "): number for column, number in found._asdict().items()}
        for adapter, found in units.items()
        if found.dead
    ]
    table = to_rich(list(rows[0]), rows) if rows else ""
    detail = f": {no_input} without input, {no_output} without output" if rows else ""
    return f"{head}{detail}\n{table}{_wrapped(_DEFINITION)}"


def _wrapped(notes: Sequence[str]) -> str:
    return "".join(f"{line}\n" for note in notes for line in wrap(note))


def _overlap_row(where: Position, overlap: Overlap) -> dict[str, Any]:
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
