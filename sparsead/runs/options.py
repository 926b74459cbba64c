"""Options of methods, checked by name, type and value before torch is imported.

The registries check them again where a method is built, and know each type exactly; importing them
takes seconds. Here only what is certainly wrong is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from sparsead.config.groups import TaskSpec
from sparsead.config.run import RunSpec
from sparsead.config.schema import check_largest
from sparsead.config.values import check_values
from sparsead.config.values.adapters import check_sources as check_fused_sources
from sparsead.config.values.tasks import NO_FILE, ONE_OF_TWO
from sparsead.errors import ConfigError, unknown_key, wrong_type
from sparsead.runs.defaults import OPTIONS

_SIZED = ("bottleneck",)
_PLACED = ("bottleneck", "sites")
_SENTENCES = ("inputs", "labels", "metrics")
_TEXTS = ("columns", "metrics", "target_length", "generation", "generated_splits")
_QUESTIONS = ("metrics", "stride", "question_length", "answer_length", "n_best")
_WITHOUT_OPTIONS = {
    *("er", "erk", "fisher", "gradient", "magnitude", "none", "random", "taso", "taylor"),
}

REQUIRED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "adapter": {
        "bitfit": (),
        "bottleneck": _PLACED,
        "full": (),
        "fusion": ("fusion",),
        "head": (),
        "dora": _PLACED,
        "ia3": ("sites",),
        "lora": _PLACED,
        "mam": _SIZED,
        "parallel": _SIZED,
        "peft": ("type",),
        "pfeiffer": _SIZED,
        "prefix": _SIZED,
        "sparse": ("budget", "sites"),
    },
    "pruner": dict.fromkeys(OPTIONS["pruner"].keys() | _WITHOUT_OPTIONS, ()),
    "task": {
        **dict.fromkeys(("demo_cola", "demo_pairs", "demo_rte", "demo_stsb"), _SENTENCES),
        **dict.fromkeys(("glue", "text", "superglue", "wic", "wsc"), _SENTENCES),
        **dict.fromkeys(("copa", "multirc", "record"), ("metrics",)),
        **dict.fromkeys(("demo_questions", "squad"), _QUESTIONS),
        **dict.fromkeys(("complete", "demo_summaries", "demo_sums", "text_to_text"), _TEXTS),
    },
}
"""By config group and method: the options that have no default. A test compares them."""

_TYPES = {bool: "bool", int: "int", float: "float", str: "str"}


def check_options(spec: RunSpec) -> None:
    """Refuse an option that its method does not have, and a type or value that it cannot have.

    Methods of the user's own are left to the registries.

    Raises:
        ConfigError: there is such an option.
    """
    for group, methods in REQUIRED.items():
        values = asdict(getattr(spec, group))
        if values["method"] in methods:
            defaults = OPTIONS[group].get(values["method"], {})
            check_largest(group, values["options"])
            _check(group, values["options"], defaults, methods[values["method"]])
            files = {"files": values["files"]} if group == "task" else {}
            check_values(group, values["method"], {**defaults, **values["options"], **files})


def check_sources(spec: RunSpec) -> None:
    """Refuse a run that combines adapters and names none, before torch is imported for it.

    Raises:
        ConfigError: the message says what to name.
    """
    if spec.adapter.method == "fusion":
        check_fused_sources(spec.adapter.options)


def check_data(spec: RunSpec) -> None:
    """Refuse a run that names no data, before torch is imported for it.

    A configuration without data is valid as long as nothing is to be trained.

    Raises:
        ConfigError: the message says what to name.
    """
    task = spec.task
    elsewhere = task.path or task.options.get("hub")
    named = (task.train, task.validation, task.test) != (None, None, None)
    if task.method in NO_FILE and not elsewhere and not named:
        raise ConfigError(NO_FILE[task.method])
    if task.method != "text":
        return
    held_out = task.options.get("validation_share") is not None
    if held_out and (twice := next(_named_validation(task), None)):
        raise ConfigError(f"{twice[0]}={twice[1]}: {ONE_OF_TWO}")
    if elsewhere:
        return
    if task.train is None:
        raise ConfigError(NO_FILE["text"])
    if task.validation is None and not held_out:
        raise ConfigError(f"task.validation: {ONE_OF_TWO}")


def _named_validation(task: TaskSpec) -> Iterator[tuple[str, str]]:
    """Yield each key with which the user names a validation split, and its value.

    The hub's name that the task has by default is none: it is not read where a share is held out.
    """
    if task.validation is not None:
        yield "task.validation", task.validation
    if task.path is not None and "validation" in task.files:
        yield "task.files.validation", task.files["validation"]
    default = OPTIONS["task"]["text"]["hub_splits"]["validation"]
    of_hub = task.options.get("hub_splits", {}).get("validation", default)
    if task.hub is not None and of_hub != default:
        yield "task.hub_splits.validation", of_hub


def _check(
    group: str, options: Mapping[str, Any], defaults: Mapping[str, Any], required: tuple[str, ...]
) -> None:
    for option, value in options.items():
        if option not in defaults and option not in required:
            raise ConfigError(unknown_key(f"{group}.{option}", [*required, *defaults]))
        kind = type(defaults.get(option))
        if kind in _TYPES and not _may_be(value, kind):
            raise ConfigError(wrong_type(f"{group}.{option}", value, _TYPES[kind]))


def _may_be(value: object, kind: type) -> bool:
    """Tell whether an option may have this value where its default has this type."""
    if value is None:  # the annotation may allow it
        return True
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind
