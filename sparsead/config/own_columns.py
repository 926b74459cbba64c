"""Let `task.inputs` and `task.label` name the columns of questions, summaries and translations too.

`task.inputs` and `task.label` name the columns of every data set of the user's own. Where the task
has `task.columns`, its file in conf/ fills that from the two, and they are no options of the task.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from sparsead.config.choices import read_choice
from sparsead.errors import ConfigError, wrong_type

_KEYS = ("inputs", "label")


def name_columns(config: DictConfig) -> DictConfig:
    """Return a run's configuration in which `task.columns` alone names the columns.

    Raises:
        ConfigError: `task.inputs` names too few or too many columns, or a column is named in
            `task.columns` as well.
    """
    task = config.get("task")
    if not isinstance(task, DictConfig) or not {"family", "columns", *_KEYS} <= {*task}:
        return config
    defaults = read_choice("task", str(task.family))
    given = {key: OmegaConf.select(task, key) for key in _KEYS}
    _check_number(given["inputs"], defaults["inputs"])
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
