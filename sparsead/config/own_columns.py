"""Let `task.inputs` and `task.label` name the columns of questions, summaries and translations too.

`task.inputs` and `task.label` name the columns of every data set of the user's own. Where the task
has `task.columns`, its file in conf/ fills that from the two, and they are no options of the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sparsead.config.choices import find_choice, list_choices, read_choice
from sparsead.errors import ConfigError, unknown, wrong_type

_KEYS = ("inputs", "label")


def name_columns(config: DictConfig) -> DictConfig:
    """Return a run's configuration in which `task.columns` alone names the columns.

    Raises:
        ConfigError: `task.family` is no family of tasks, `task.inputs` names too few or too many
            columns, or a column is named in `task.columns` as well.
    """
    task = config.get("task")
    if not isinstance(task, DictConfig) or task.get("family") is None:
        return config
    defaults = _read_family(str(task.family))
    if not {"columns", *_KEYS} <= {*task}:
        return config
    given = {key: OmegaConf.select(task, key) for key in _KEYS}
    _check_number(given["inputs"], [str(each) for each in defaults["inputs"]])
    values: Any = OmegaConf.to_container(task, resolve=True)
    for key in _KEYS:
        named = values.pop(key)
        missed = [each for each in _listed(named) if each not in values["columns"].values()]
        if missed and named != defaults[key]:
            raise ConfigError(
                f"task.{key}: names the column {missed[0]}, and task.columns="
                f"{values['columns']} another one in its place; leave out one of the two"
            )
    return DictConfig({"task": values})


def list_families() -> list[str]:
    """Return the tasks for data of the user's own, such as text, after which families are named."""
    return [each for each in list_choices("task") if "family" in read_choice("task", each)]


def _read_family(family: str) -> Mapping[str, Any]:
    """Return what the file of a family of tasks says: `family`, and the columns by default."""
    families = list_families()
    if family not in families:
        raise ConfigError(unknown("task.family", family, families))
    values = read_choice("task", family)
    inputs, label = (values.get(key) for key in _KEYS)
    if not (isinstance(inputs, list) and isinstance(label, str)):
        file = find_choice("task", family)
        raise ConfigError(f"{file}: must name columns, as in `inputs: [a, b]` and `label: c`")
    return values


def _check_number(inputs: object, default: list[str]) -> None:
    """Refuse another number of columns of text than the task has."""
    if isinstance(inputs, str) or not OmegaConf.is_list(inputs):
        raise ConfigError(wrong_type("task.inputs", inputs, "collections.abc.Sequence[str]"))
    names = list(inputs)  # type: ignore[call-overload]
    if len(names) != len(default):
        wanted = f"task.inputs=[{','.join(default)}]"
        raise ConfigError(
            f"task.inputs=[{','.join(map(str, names))}]: must name as many columns of text as "
            f"{wanted} does"
        )


def _listed(named: Any) -> list[Any]:
    return named if isinstance(named, list) else [named]
