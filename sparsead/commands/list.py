"""`sparsead list`: list what can be chosen, with a line about each.

$ sparsead list pruners
$ sparsead list tables
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping

from sparsead.config.arguments import Parser, add_json
from sparsead.config.choices import list_choices
from sparsead.config.comments import describe_choice
from sparsead.config.values.tasks import METRICS
from sparsead.errors import ConfigError, unknown
from sparsead.errors.display import to_columns, wrap
from sparsead.runs.record import known_direction

_GROUPS = {
    "adapters": "adapter",
    "pruners": "pruner",
    "tasks": "task",
    "backbones": "backbone",
    "tables": "table",
    "protocols": "protocol",
    "searches": "search",
    "experiments": "experiment",
}
"""What is listed, and the config group of its choices."""

KINDS = (*_GROUPS, "metrics")


def main() -> None:
    """Entry point of `sparsead list`."""
    parser = Parser("sparsead list", __doc__)
    kinds = ", ".join(KINDS)
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"{kinds}; without it, all names")
    add_json(parser)
    arguments = parser.parse()
    kind = arguments.kind
    if arguments.json:
        sys.stdout.write(f"{json.dumps(_as_json(kind), indent=2)}\n")
    elif kind is None:
        sys.stdout.write("".join(_names()))
    else:
        sys.stdout.write(to_columns(_lines(_checked(kind))))


def _as_json(kind: str | None) -> Mapping[str, str | list[str]]:
    """Return the line of each choice, or without a kind all names."""
    if kind is None:
        return {kind: _list_names(kind) for kind in KINDS}
    return dict(_lines(_checked(kind)))


def _checked(kind: str) -> str:
    """Return what is to be listed; the name of a config group is understood too.

    Raises:
        ConfigError: there is nothing of that name to be listed.
    """
    plural = {group: name for name, group in _GROUPS.items()} | {"metric": "metrics"}
    kind = plural.get(kind, kind)
    if kind not in KINDS:
        raise ConfigError(unknown("list", kind, KINDS))
    return kind


def _names() -> Iterator[str]:
    for kind in KINDS:
        line = f"{kind}: {', '.join(_list_names(kind))}"
        yield f"{wrap(line) if sys.stdout.isatty() else line}\n"


def _list_names(kind: str) -> list[str]:
    return list_choices(_GROUPS[kind]) if kind in _GROUPS else [name for name, _ in _metrics()]


def _lines(kind: str) -> Iterator[tuple[str, str]]:
    if kind == "metrics":
        yield from _metrics()
        return
    for choice in list_choices(_GROUPS[kind]):
        yield choice, describe_choice(_GROUPS[kind], choice)


def _metrics() -> Iterator[tuple[str, str]]:
    """Yield each metric once, with all that it is of."""
    of: dict[str, list[str]] = defaultdict(list)
    for kind, names in METRICS.items():
        for name in names:
            of[name].append("generated texts" if kind == "texts" else kind)
    for name, kinds in of.items():
        better = "higher" if known_direction(name) else "lower"
        yield name, f"of {' and '.join(kinds)}; {better} is better"
