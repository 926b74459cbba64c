"""The compositions of conf/, and the file in which they are recorded.

`python tests/compositions.py` writes tests/data/compositions.json anew. Do so where a change of a
configuration is meant: the file's own difference then shows what changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import hydra
from omegaconf import OmegaConf

from sparsead.config.choices import list_choices, list_groups
from sparsead.config.overrides import expand
from sparsead.tables.files import load_table

RECORDED = Path(__file__).parent / "data" / "compositions.json"

_REMOVED = "~"
_NOT_COMPOSED = ("hydra", "table")

Flat = dict[str, Any]


def compose_flat(overrides: Sequence[str]) -> Flat:
    """Return the resolved configuration with dotted keys; Hydra must be initialised.

    Of Hydra's own configuration it holds what a search sweeps.
    """
    config = hydra.compose("train", expand(overrides), return_hydra_config=True)
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    composed = dict(_leaves("", OmegaConf.to_container(own, resolve=True)))
    swept = OmegaConf.select(config, "hydra.sweeper.params")
    if swept:
        composed |= _leaves("hydra.sweeper.params", OmegaConf.to_container(swept))
    return composed


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        yield key, value
        return
    for name, inner in value.items():
        yield from _leaves(f"{key}.{name}" if key else str(name), inner)


def expected(recorded: dict[str, Flat], overrides: Sequence[str]) -> Flat:
    """Return the composition that was recorded for these overrides.

    The file holds the default whole, under no override. Of each choice it holds how this differs
    from the default, and of several choices together how they differ from the sum of these.
    """
    composed = _sum_of_choices(recorded, overrides)
    return _apply(composed, recorded[" ".join(overrides)]) if overrides else composed


def _sum_of_choices(recorded: dict[str, Flat], overrides: Sequence[str]) -> Flat:
    composed = dict(recorded[""])
    if len(overrides) > 1:
        for override in overrides:
            composed = _apply(composed, recorded.get(override, {}))
    return composed


def _apply(composed: Flat, difference: Flat) -> Flat:
    removed = {key.removeprefix(_REMOVED) for key in difference if key.startswith(_REMOVED)}
    changed = {k: v for k, v in difference.items() if not k.startswith(_REMOVED)}
    return {key: value for key, value in composed.items() if key not in removed} | changed


def _difference(before: Flat, after: Flat) -> Flat:
    absent = object()
    changed = {key: value for key, value in after.items() if before.get(key, absent) != value}
    return changed | {_REMOVED + key: None for key in before if key not in after}


def shipped_compositions() -> list[tuple[str, ...]]:
    """Return the overrides of what is recorded.

    These are none, each choice of each group, and each experiment on each task of the tables.
    """
    composed = [group for group in list_groups() if group not in _NOT_COMPOSED]
    chosen = [f"{group}={choice}" for group in composed for choice in list_choices(group)]
    experiments = [choice for choice in chosen if choice.startswith("experiment=")]
    columns = [column for table in list_choices("table") for column in load_table(table).columns]
    tasks = dict.fromkeys(f"task={column.task}" for column in columns)
    return [(), *((choice,) for choice in chosen), *product(experiments, tasks)]


def main() -> None:
    """Write the file anew."""
    compositions = shipped_compositions()
    recorded: dict[str, Flat] = {}
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        recorded[""] = compose_flat(())
        for overrides in compositions[1:]:
            composed = compose_flat(overrides)
            before = _sum_of_choices(recorded, overrides)
            recorded[" ".join(overrides)] = _difference(before, composed)
    lines = (
        f"{json.dumps(name)}: {json.dumps(value, sort_keys=True)}"
        for name, value in recorded.items()
    )
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
