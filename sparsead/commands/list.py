"""`sparsead list`: list what can be chosen, with a line about each.

$ sparsead list pruners
$ sparsead list tables
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping

from sparsead.config.arguments import Parser, add_json
from sparsead.config.choices import list_choices
from sparsead.config.comments import describe_choice
from sparsead.errors import ConfigError, unknown
from sparsead.errors.display import to_columns

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
        return {each: list_choices(group) for each, group in _GROUPS.items()}
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
    for kind, group in _GROUPS.items():
        yield f"{kind}: {', '.join(list_choices(group))}\n"
    yield "metrics: sparsead list metrics\n"


def _lines(kind: str) -> Iterator[tuple[str, str]]:
    if kind == "metrics":
        yield from _metrics()
        return
    for choice in list_choices(_GROUPS[kind]):
        yield choice, describe_choice(_GROUPS[kind], choice)


def _metrics() -> Iterator[tuple[str, str]]:
    from sparsead.tasks.answer_scores import ANSWER_METRICS  # imports evaluate, which is slow
    from sparsead.tasks.metrics import CLASS_METRICS, NUMBER_METRICS
    from sparsead.tasks.text_scores import CORPUS_METRICS, ROUGE_METRICS

    kinds = {
        "classes": CLASS_METRICS,
        "numbers": NUMBER_METRICS,
        "answers": ANSWER_METRICS,
        "generated texts": {**ROUGE_METRICS, **CORPUS_METRICS},
    }
    for kind, metrics in kinds.items():
        for name, metric in metrics.items():
            better = "higher" if metric.higher_is_better else "lower"
            yield name, f"of {kind}; {better} is better"
