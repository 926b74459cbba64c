"""Runs that repeat another one to the last bit: one observation, not several."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, TypeVar

from sparsead.config.seeds import PARTS, Seeds
from sparsead.errors import warn
from sparsead.errors.display import pluralize
from sparsead.report.settings import identify_setting
from sparsead.runs.record import RunRecord

Key = TypeVar("Key", bound=int | tuple[int, ...])


def find_repeated(records: Mapping[Key, RunRecord]) -> frozenset[Key]:
    """Return the seeds whose losses and scores are those of a smaller seed, to the last bit.

    That can be where `seed_data`, `seed_init` or `seed_mask` fixes a part: a mask of magnitudes,
    for instance, does not depend on any seed. Such runs are one observation, not several.

    Args:
        records: the whole records of one setting by their seeds.
    """
    known: set[str] = set()
    repeated: set[Key] = set()
    for seed, record in sorted(records.items()):
        history = record.result.get("history")
        if not history or not _fixes_a_part(record.result.get("config", {})):
            continue
        content = json.dumps([history, record.result["scores"]], sort_keys=True)
        if content in known:
            repeated.add(seed)
        known.add(content)
    return frozenset(repeated)


def count_once(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the finished runs without those that repeat another run of their setting.

    A line says how many were left out.

    Args:
        records: of finished runs; their bulky parts may be lacking.
    """
    groups: dict[tuple[str, ...], list[RunRecord]] = defaultdict(list)
    for record in records:
        if _fixes_a_part(record.result["config"]):
            groups[identify_setting(record)].append(record)
    left_out = {folder for group in groups.values() for folder in _find_repeated_folders(group)}
    if left_out:
        warn(
            f"not counted: {pluralize(len(left_out), 'run')} of {len(records)}, with the losses "
            "and scores of another seed of the same setting; nothing in them depends on the seed"
        )
    return [record for record in records if record.folder not in left_out]


def _find_repeated_folders(group: Sequence[RunRecord]) -> list[Path]:
    """Return the folders of the runs of one setting that repeat another one of them."""
    if len(group) < 2:
        return []
    whole = [RunRecord.read(record.folder) for record in group]  # a list has no learning curves
    by_seed = {astuple(Seeds.read(record.result["config"])): record for record in whole}
    return [by_seed[seed].folder for seed in find_repeated(by_seed)]


def _fixes_a_part(config: Mapping[str, Any]) -> bool:
    return any(config.get(f"seed_{part}") is not None for part in PARTS)
