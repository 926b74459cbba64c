"""`sparsead list`: list what can be chosen, with a line about each."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from sparsead.config.arguments import Parser
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

_KINDS = (*_GROUPS, "metrics")


def main() -> None:
    """Entry point of `sparsead list`."""
    parser = Parser("sparsead list", __doc__)
    kinds = ", ".join(_KINDS)
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"{kinds}; without it, all names")
    kind = parser.parse().kind
    if kind is None:
        sys.stdout.write("".join(_names()))
        return
    sys.stdout.write(to_columns(_lines(_checked(kind))))


def _checked(kind: str) -> str:
    """Return what is to be listed; the name of a config group is understood too.

    Raises:
        ConfigError: there is nothing of that name to be listed.
    """
    plural = {group: name for name, group in _GROUPS.items()} | {"metric": "metrics"}
    kind = plural.get(kind, kind)
    if kind not in _KINDS:
        raise ConfigError(unknown("list", kind, _KINDS))
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
