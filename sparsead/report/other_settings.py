"""Find finished runs that a table does not show because their settings differ from the table's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sparsead.errors.display import pluralize
from sparsead.report.settings import select_decisive
from sparsead.runs.index import read_summaries
from sparsead.runs.states import Missing, read_state
from sparsead.tables.cells import Cell

_NAMED = ("backbone.name", "task.name", "adapter.name", "pruner.name", "sparsity")


def describe_other_settings(wanted: Sequence[Cell]) -> str | None:
    """Return a hint at finished runs that match missing cells except for some settings.

    Such runs have the same backbone, task, adapter, pruner and sparsity as a missing cell. The hint
    names the most frequent differing settings; None if no cell is missing or no such run exists.
    """
    missing = [
        cell.request for cell in wanted if isinstance(read_state(cell.request.folder), Missing)
    ]
    if not missing:
        return None
    asked = {
        _row(config): config for config in (select_decisive(run.spec.to_dict()) for run in missing)
    }
    shown = {cell.request.folder.name for cell in wanted}
    found: Counter[str] = Counter()
    for record in read_summaries(missing[0].outputs):
        if record.folder.name not in shown:
            config = select_decisive(record.result.get("config", {}))
            found.update(_differences(config, asked.get(_row(config), config)))
    if not found:
        return None
    settings, count = found.most_common(1)[0]
    return (
        "not shown, because of other settings than the missing cells have: "
        f"{pluralize(count, 'finished run')} with {settings}"
    )


def _row(config: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(config.get(name) for name in _NAMED)


def _differences(config: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Return the settings of a run that differ from those asked for, as one text, or nothing."""
    other = {key: value for key, value in config.items() if asked.get(key) != value}
    return [" ".join(f"{key}={value}" for key, value in other.items())] if other else []
