"""Write docs/reference.md: every key of a run's configuration, with type, default and meaning.

    python scripts/make_reference.py

The types come from the classes that read the keys, the defaults and the meanings from conf/.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import hydra
import yaml
from omegaconf import OmegaConf

from sparsead.adapters.contract import ADAPTERS
from sparsead.config.choices import config_folders, list_choices
from sparsead.config.comments import choice_comments, describe_choice, read_comments
from sparsead.config.compose import initialised
from sparsead.config.help import find_comment
from sparsead.config.pruning import SparsitySpec
from sparsead.config.run import SECTIONS
from sparsead.config.safe_yaml import read_mapping
from sparsead.config.schema import list_leaves
from sparsead.config.search import SearchSpec
from sparsead.config.tracking import TrackingSpec
from sparsead.pruning.contract import PRUNERS
from sparsead.tasks.contract import TASKS

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"

_SCHEMAS = {
    **SECTIONS,
    "sparsity": SparsitySpec,
    "search": SearchSpec,
    "tracking": TrackingSpec,
}
_REGISTRIES: Mapping[str, Any] = {"adapter": ADAPTERS, "pruner": PRUNERS, "task": TASKS}
_OPEN = ("backbone.architecture", "task.generation", "task.tests", "task.tsv_columns")
"""Mappings whose keys are not ours: one line is for the whole of each."""
_NAMED = 5
"""At most so many different values, and choices with the most frequent one, are named."""
_PLAIN_TYPES = {
    "collections.abc.Sequence": "list",
    "collections.abc.Mapping": "dict",
    "typing.": "",
}

_HEAD = """\
# Reference

Every key of a run's configuration. This page is made from the schema by
`python scripts/make_reference.py`; a test keeps it equal. `sparsead train --help` prints the same
for the choices that are made, and `sparsead list adapters` what the choices are.

A key is typed as `KEY=VALUE`, a choice as `GROUP=CHOICE`. Where a default or a meaning differs
between choices, the choices stand before it; `others` are those that have the key and are not
named. `null` means that nothing is set.
"""


@dataclass(frozen=True)
class _Use:
    """A key as one choice of its group has it."""

    choice: str
    value: str
    meaning: str


def render() -> str:
    """Return the text of docs/reference.md."""
    parts = [_HEAD, _run_keys()]
    parts += [_group(group) for group in _SCHEMAS]
    return "\n".join(parts)


def _run_keys() -> str:
    file = config_folders()[0] / "train.yaml"
    content = read_mapping(file)
    comments = read_comments(file)
    own = {key: value for key, value in content.items() if not isinstance(value, dict | list)}
    rows = [(key, _kind(value), _code(value), comments.get(key, "")) for key, value in own.items()]
    return "## The run itself\n\n" + _table(rows)


def _group(group: str) -> str:
    choices = list_choices(group)
    said = "\n".join(
        f"- `{group}={choice}`: {describe_choice(group, choice)}" for choice in choices
    )
    uses: dict[str, list[_Use]] = {}
    types: dict[str, str] = {}
    for choice in choices:
        values = _composed(group, choice)
        comments = choice_comments(group, choice)
        for key, value in _leaves(group, values):
            use = _Use(choice, _code(value), find_comment(key, comments))
            uses.setdefault(key, []).append(use)
            kind = _type_of(group, str(values.get("method", "")), key) or _kind(value)
            types[key] = kind if types.get(key, "null") == "null" else types[key]
    rows = [
        (key, types[key], _by_choice(of_key, "value"), _by_choice(of_key, "meaning"))
        for key, of_key in uses.items()
    ]
    return f"## {group}\n\n{said}\n\n" + _table(rows)


def _composed(group: str, choice: str) -> dict[str, Any]:
    """Return the section of a group with one choice, and its interpolations resolved."""
    with initialised():
        config = hydra.compose("train", [f"{group}={choice}"])
    if group not in config:  # search=grid is a sweep and no section
        return {}
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    found = values[group]
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def _leaves(group: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    seen = set()
    for key, value in list_leaves(f"{group}.", values):
        whole = next((name for name in _OPEN if key.startswith(f"{name}.")), None)
        if whole is None:
            yield key, value
        elif whole not in seen:
            seen.add(whole)
            yield whole, "…"


def _type_of(group: str, method: str, key: str) -> str | None:
    """Return the type of a key from the class that reads it; None where that is only a mapping."""
    name = key.removeprefix(f"{group}.")
    schema = _SCHEMAS[group]
    of_schema = {field.name: str(field.type) for field in fields(schema)}
    if name in of_schema:
        return of_schema[name]
    registry = _REGISTRIES.get(group)
    if registry is None or not method:
        return None
    hints = _hints(registry.get(method))
    if name not in hints:
        return None
    kind = inspect.formatannotation(hints[name])
    for long, short in _PLAIN_TYPES.items():
        kind = kind.replace(long, short)
    return kind


def _hints(entry: Callable[..., Any]) -> Mapping[str, Any]:
    plain_class = inspect.isclass(entry) and not is_dataclass(entry)
    return get_type_hints(entry.__init__ if plain_class else entry)


def _by_choice(uses: list[_Use], part: str) -> str:
    """Return what is said of a key; where choices differ, each with the choices before it."""
    found: dict[str, list[str]] = {}
    for use in uses:
        found.setdefault(getattr(use, part), []).append(use.choice)
    if len(found) == 1:
        return next(iter(found))
    if len(found) > _NAMED:
        return "by choice" if part == "value" else next(filter(None, found), "")
    most = max(found, key=lambda said: len(found[said]) if said else 0)
    if len(found[most]) > _NAMED:  # what most choices have stands last, without naming them
        found[most] = ["others"]
        found[most] = found.pop(most)
    return "; ".join(f"{', '.join(choices)}: {said}" for said, choices in found.items() if said)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return "mapping" if value == "…" else type(value).__name__


def _code(value: Any) -> str:
    if value == "…":
        return "…"
    if isinstance(value, str) and "\n" in value:  # a cell of the table is one line
        return f"`{json.dumps(value)}`"
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
    return f"`{text.removesuffix(chr(10) + '...' + chr(10)).strip()}`"


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    lines = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, kind, value, meaning in rows:
        cells = [f"`{key}`", kind, value, meaning]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page anew."""
    REFERENCE.write_text(render(), "utf-8")


if __name__ == "__main__":
    main()
