"""Group finished runs by setting: the runs of one row differ only in the seed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from sparsead.config.groups import SPLITS
from sparsead.config.seeds import SEED_KEYS, Seeds
from sparsead.report.statistics import Estimate
from sparsead.runs.defaults import leave_out_defaults
from sparsead.runs.identity import UNDECISIVE_KEYS
from sparsead.runs.listing import flatten_config
from sparsead.runs.record import RunRecord

Row = dict[str, Any]


class Setting(NamedTuple):
    """Runs that differ only in their seeds.

    Attributes:
        place: task, backbone, adapter, r, pruner and sparsity in percent.
        said: the keys that tell settings of the same place apart; None where a key does not.
        records: of the runs.
    """

    place: Row
    said: Row
    records: list[RunRecord]


_ORDER = ("task", "backbone", "adapter", "r", "pruner", "sparsity")
_RANKED = ("task", "adapter", "pruner", "sparsity", "r", "backbone")
NOT_DECISIVE = (*SEED_KEYS, "outputs", "rerun", "threads")
"""Keys in which the runs of one setting may differ."""
_TELLING = (*SPLITS, "family")
"""Keys of a task that tell runs apart although the identity counts the files' content instead."""
_REDUNDANT = tuple(
    f"{group}.{key}"
    for group, keys in UNDECISIVE_KEYS.items()
    for key in keys
    if key not in _TELLING
)
"""Keys whose effect other keys already show."""
_SETTING, _SHORT = "setting", 8
"""The column with the beginning of a setting's hash, and its number of characters."""
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

    Rows are sorted by task, backbone, adapter, r, pruner and sparsity, and then by the differing
    keys, numbers by their size. Scores, sparsity and #param are percentages, as usual in papers.

    Args:
        records: records of finished runs.
        always: configuration keys that every row shows, such as `protocol.epochs`.
        points: if rows are the best points of grids, the number of points of each setting's grid;
            a row then says on what it was chosen.
    """
    return [
        _row(setting.place, setting.said, setting.records) | _chosen(setting.records[0], points)
        for setting in sorted(find_settings(records, always), key=_rank_setting)
    ]


def _rank_setting(setting: Setting) -> tuple[list[tuple[bool, Any]], list[tuple[int, float, str]]]:
    """Return what a setting is sorted by."""
    place = setting.place
    return (
        [(place[column] is not None, place[column]) for column in _ORDER],
        [_rank_value(value) for value in setting.said.values()],
    )


def _rank_value(text: str | None) -> tuple[int, float, str]:
    """Return what a value is sorted by: first none, then numbers by their size, then texts."""
    if text is None:
        return 0, 0.0, ""
    try:
        return 1, float(text), ""
    except ValueError:
        return 2, 0.0, text


def find_settings(records: Iterable[RunRecord], always: Sequence[str] = ()) -> list[Setting]:
    """Return the settings of finished runs, each with its runs.

    Args:
        records: records of finished runs.
        always: configuration keys that every setting says, such as `protocol.epochs`.
    """
    groups: dict[tuple[str, ...], list[RunRecord]] = defaultdict(list)
    for record in records:
        groups[identify_setting(record)].append(record)
    settings = [(_place(group), group) for group in groups.values()]
    number = Counter(tuple(place.values()) for place, _ in settings)
    # A configuration is needed only where places look alike; to flatten all of them takes long.
    configs = [
        _flat(group[0].result["config"]) | commits_of(group[0].result)
        if always or number[tuple(place.values())] > 1
        else {}
        for place, group in settings
    ]
    alike: dict[tuple[Any, ...], list[tuple[Mapping[str, Any], dict[str, Any]]]] = defaultdict(list)
    for (place, group), config in zip(settings, configs, strict=True):
        alike[tuple(place.values())].append((group[0].result, config))
    differing = {key: [*always] for key in alike}
    for key, found in alike.items():
        if len(found) > 1:
            differing[key] += _differing([_split_config(*each) for each in found], always)
    shown = list(dict.fromkeys(name for names in differing.values() for name in names))
    said = [
        _said(config, differing[tuple(place.values())], shown)
        for (place, _), config in zip(settings, configs, strict=True)
    ]
    return _tell_apart(
        [Setting(place, each, group) for (place, group), each in zip(settings, said, strict=True)],
        [setting for setting, *_ in groups],
    )


def _tell_apart(settings: Sequence[Setting], hashes: Sequence[str]) -> list[Setting]:
    """Add the beginning of a setting's hash where nothing else tells two settings apart.

    That is so if a file has other content under the same path, or if two sparsities are the same in
    two decimals.
    """
    looks = [repr((setting.place, setting.said)) for setting in settings]
    if len({*looks}) == len(looks):
        return [*settings]
    alike = Counter(looks)
    return [
        setting._replace(said=setting.said | {_SETTING: name[:_SHORT] if alike[look] > 1 else None})
        for setting, look, name in zip(settings, looks, hashes, strict=True)
    ]


def _split_config(result: Mapping[str, Any], config: dict[str, Any]) -> _Config:
    """Return the configuration of a result, with and without the keys that have their defaults."""
    return _Config(config, _flat(leave_out_defaults(result["config"])) | commits_of(result))


def identify_setting(record: RunRecord) -> tuple[str, ...]:
    """Return the hash of a run's setting, and the commits of what it read from the hub."""
    setting = record.result.get("setting", record.folder.name)
    return (setting, *commits_of(record.result).values())


def list_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns of all rows, in order of appearance, with the seconds last."""
    seen = dict.fromkeys(column for row in rows for column in row)
    return [column for column in seen if column != "seconds"] + ["seconds"]


def rank_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns, the most important first.

    They are what a row is, its main score, the keys that tell rows apart that are alike otherwise,
    its further scores, and the rest.
    """
    columns = list_columns(rows)
    scores = [[c for c in row if isinstance(row[c], Estimate)] for row in rows]
    main = [name for names in scores for name in names[:1]]
    further = [name for names in scores for name in names[1:]]
    telling = [column for column in columns if "." in column or column == _SETTING]
    return list(dict.fromkeys([*_RANKED, *main, *telling, *further, *columns]))


def commits_of(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the commits of the hub from which a run's weights and rows came, as far as recorded.

    Returns:
        `backbone.commit` and `task.commit` → its first digits, as the hub shows them.
    """
    sources = result.get("sources", {})
    found = {group: sources.get(group, {}).get("commit") for group in ("backbone", "task")}
    return {f"{group}.commit": commit[:8] for group, commit in found.items() if commit}


def _place(group: Sequence[RunRecord]) -> Row:
    result = group[0].result
    config = result["config"]
    return {
        "task": config["task"]["name"],
        "backbone": config["backbone"]["name"],
        "adapter": config["adapter"]["name"],
        "r": config["adapter"]["options"].get("bottleneck"),
        "pruner": config["pruner"]["name"],
        "sparsity": round(100 * result["sparsity"]["realised"], 2),
    }


def _said(config: Mapping[str, Any], differing: Sequence[str], shown: list[str]) -> Row:
    return {name: _format_value(config.get(name)) if name in differing else None for name in shown}


def _row(place: Row, said: Row, group: list[RunRecord]) -> Row:
    result = group[0].result
    nominal = round(100 * result["parameters"]["nominal"], 2)
    row = place | said | {"#param": nominal, "n": len(group)}
    if collapsed := sum(bool(record.result.get("collapsed")) for record in group):
        row["collapsed"] = collapsed
    for metric in result["scores"]:
        scores = [record.result["scores"].get(metric) for record in group]
        row[metric] = _estimate(scores)
        if undefined := scores.count(None):
            row[f"{metric} not defined"] = undefined
    for metric in result.get("selection", {}):
        chosen_by = [record.result.get("selection", {}).get(metric) for record in group]
        row[f"selection {metric}"] = _estimate(chosen_by)
    row["seconds"] = round(fmean(sum(r.result["seconds"].values()) for r in group), 1)
    return row


def count_points_of(record: RunRecord, points: Mapping[str, int]) -> int:
    """Return how many points of a run's grid are compared, from their number by setting."""
    return points.get(record.result.get("setting", record.folder.name), 1)


def _chosen(record: RunRecord, points: Mapping[str, int] | None) -> Row:
    """Return on what the point of a row was chosen, from how many; nothing without a choice."""
    if points is None:
        return {}
    number = count_points_of(record, points)
    on = "held-out part of train" if record.holds_out else "the dev set itself"
    return {"points": number, "chosen on": on if number > 1 else None}


def _estimate(scores: Sequence[float | None]) -> Estimate | None:
    finite = [100 * score for score in scores if score is not None]
    return Estimate.of(finite) if finite else None


class _Config(NamedTuple):
    """The decisive keys of a setting, and those of them that do not have their default."""

    all: Mapping[str, Any]
    told: Mapping[str, Any]


def _differing(configs: Sequence[_Config], known: Sequence[str]) -> list[str]:
    """Return the keys in which the configurations differ, except those in `known`.

    A key that a record lacks, because there was no such key when it was made, has its default.
    """
    keys = dict.fromkeys(key for config in configs for key in config.all if key not in known)
    return [k for k in keys if len({_format_value(config.told.get(k)) for config in configs}) > 1]


def select_decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that define a setting and their values, named as on the command line."""
    decisive = {key: value for key, value in config.items() if key not in NOT_DECISIVE}
    if "seed" in config and Seeds.read(config).shared is None:
        decisive["seeds"] = "separate"
    flat = flatten_config(decisive)
    return {key: value for key, value in flat.items() if not key.startswith(_REDUNDANT)}


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that define a setting, except those that every row shows anyway."""
    return {key: value for key, value in select_decisive(config).items() if key not in _SHOWN}


def _format_value(value: Any) -> str:
    return "–" if value is None else str(value)
