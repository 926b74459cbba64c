"""Group finished runs by setting: the runs of one row differ only in the seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from sparsead.config.seeds import SEED_KEYS, Seeds
from sparsead.errors import RecordError
from sparsead.report.statistics import Estimate
from sparsead.runs.record import RunRecord

Row = dict[str, Any]

_ORDER = ("task", "backbone", "adapter", "r", "pruner", "sparsity")
NOT_DECISIVE = (*SEED_KEYS, "outputs", "rerun")
_REDUNDANT = ("task.protocol.", "adapter.protocol.", "pruner.density", "pruner.controls")
"""Keys whose effect other keys already show.

The defaults of a task or an adapter are applied in `protocol`, and the two keys of the pruner only
check the sparsity and `pruner.control`.
"""
_SHOWN = (
    "task.name",
    "backbone.name",
    "adapter.name",
    "adapter.bottleneck",
    "pruner.name",
    "sparsity",
)


def group_by_setting(
    records: Iterable[RunRecord],
    always: Sequence[str] = (),
    points: Mapping[str, int] | None = None,
) -> list[Row]:
    """Return one row per setting; rows that would otherwise look alike show the differing keys.

    Scores, sparsity and #param are percentages, as usual in papers.

    Args:
        records: records of finished runs.
        always: configuration keys that every row shows, such as `protocol.epochs`.
        points: if rows are the best points of grids, the number of points of each setting's grid;
            a row then says on what it was chosen.
    """
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        groups[record.result.get("setting", record.folder.name)].append(record)
    settings = [(_place(group), group) for group in groups.values()]
    alike: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for place, group in settings:
        alike[tuple(place.values())].append(_flat(group[0].result["config"]))
    differing = {key: [*always, *_differing(configs, always)] for key, configs in alike.items()}
    shown = list(dict.fromkeys(name for names in differing.values() for name in names))
    rows = [
        _row(place, differing[tuple(place.values())], shown, group) | _chosen(group[0], points)
        for place, group in settings
    ]
    return sorted(rows, key=lambda row: [(row[c] is not None, row[c]) for c in _ORDER])


def list_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns of all rows, in order of appearance, with the seconds last."""
    seen = dict.fromkeys(column for row in rows for column in row)
    return [column for column in seen if column != "seconds"] + ["seconds"]


def _place(group: Sequence[RunRecord]) -> Row:
    result = group[0].result
    try:
        config = result["config"]
        return {
            "task": config["task"]["name"],
            "backbone": config["backbone"]["name"],
            "adapter": config["adapter"]["name"],
            "r": config["adapter"]["options"].get("bottleneck"),
            "pruner": config["pruner"]["name"],
            "sparsity": round(100 * result["sparsity"]["realised"], 2),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise _incomplete(group, error) from error


def _row(place: Row, differing: Sequence[str], shown: list[str], group: list[RunRecord]) -> Row:
    result = group[0].result
    config = _flat(result["config"])
    said = {name: _format_value(config.get(name)) if name in differing else None for name in shown}
    try:
        nominal = round(100 * result["parameters"]["nominal"], 2)
        row = place | said | {"#param": nominal, "n": len(group)}
        if collapsed := sum(bool(record.result.get("collapsed")) for record in group):
            row["collapsed"] = collapsed
        for metric in result["scores"]:
            row[metric] = _estimate([record.result["scores"][metric] for record in group])
            if undefined := sum(record.result["scores"][metric] is None for record in group):
                row[f"{metric} not defined"] = undefined
        for metric in result.get("selection", {}):
            scores = [record.result["selection"][metric] for record in group]
            row[f"selection {metric}"] = _estimate(scores)
        row["seconds"] = round(mean(sum(r.result["seconds"].values()) for r in group), 1)
    except (KeyError, TypeError, AttributeError) as error:
        raise _incomplete(group, error) from error
    return row


def _chosen(record: RunRecord, points: Mapping[str, int] | None) -> Row:
    """Return on what the point of a row was chosen, from how many; nothing without a choice."""
    if points is None:
        return {}
    number = points.get(record.result.get("setting", record.folder.name), 1)
    on = "held-out part of train" if record.holds_out else "the dev set itself"
    return {"points": number, "chosen on": on if number > 1 else None}


def _estimate(scores: Sequence[float | None]) -> Estimate | None:
    finite = [100 * score for score in scores if score is not None]
    return Estimate.of(finite) if finite else None


def _incomplete(group: Sequence[RunRecord], error: Exception) -> RecordError:
    return RecordError(f"{group[0].folder}: its result is incomplete ({error!r})")


def _differing(configs: Sequence[Mapping[str, Any]], known: Sequence[str]) -> list[str]:
    """Return the keys in which the configurations differ, except those in `known`."""
    keys = dict.fromkeys(key for config in configs for key in config if key not in known)
    return [key for key in keys if len({_format_value(config.get(key)) for config in configs}) > 1]


def select_decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that define a setting and their values, named as on the command line."""
    decisive = {key: value for key, value in config.items() if key not in NOT_DECISIVE}
    if "seed" in config and Seeds.read(config).shared is None:
        decisive["seeds"] = "separate"
    return {
        key.replace(".options.", "."): value
        for key, value in flatten(decisive).items()
        if not key.startswith(_REDUNDANT)
    }


def flatten(values: Mapping[str, Any], joint: str = ".", prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one flat mapping, whose keys are joined by `joint`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        nested = isinstance(value, Mapping)
        found |= flatten(value, joint, f"{name}{joint}") if nested else {name: value}
    return found


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that define a setting, except those that every row shows anyway."""
    return {key: value for key, value in select_decisive(config).items() if key not in _SHOWN}


def _format_value(value: Any) -> str:
    return "–" if value is None else str(value)
