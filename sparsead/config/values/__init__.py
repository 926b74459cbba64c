"""The values that options of the project's own methods may have, checked without importing torch.

Each group has a module. The methods call its functions too, so that a program that uses them
without a configuration gets the same messages. What depends on the model or on the data is checked
where these are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from sparsead.config.values import adapters, pruners, tasks
from sparsead.config.values.contract import Options
from sparsead.errors import ConfigError, wrong_type

_KIND_OF: Mapping[str, type] = {
    **dict.fromkeys(("sites", "inputs", "labels", "metrics", "generated_splits"), list),
    **dict.fromkeys(("fusion", "columns", "generation", "scoring_tokenizers", "hub_splits"), dict),
    **dict.fromkeys(("question_length", "answer_length", "n_best", "stride"), int),
}
"""The types of the options that have no default from which their type could be read."""
_ANNOTATIONS = {list: "collections.abc.Sequence[str]", dict: "dict[str, Any]", int: "int"}

_CHECKS: Mapping[str, Mapping[str, Sequence[Callable[[Options], None]]]] = {
    "adapter": adapters.CHECKS,
    "pruner": pruners.CHECKS,
    "task": tasks.CHECKS,
}


def check_values(group: str, method: str, options: Options) -> None:
    """Refuse a value that an option of one of the project's own methods cannot have.

    Args:
        group: adapter, pruner or task.
        method: the method's name in its registry.
        options: all of its options, those with a default included.

    Raises:
        ConfigError: the message names the value and what is allowed.
    """
    for key, kind in _KIND_OF.items():
        value = options.get(key, kind())
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(wrong_type(f"{group}.{key}", value, _ANNOTATIONS[kind]))
    for check in _CHECKS[group].get(method, ()):
        with suppress(TypeError):  # a value in a list has another type: the registry refuses it
            check(options)
