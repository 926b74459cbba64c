"""The files of conf/, at which Hydra looks once in a process and not in every composition.

Reading them takes a third of a composition, and nearly every test composes a configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TypeVar

import hydra
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource

Answer = TypeVar("Answer")


def _remember(
    method: Callable[[ConfigSource, str], Answer],
) -> Callable[[ConfigSource, str], Answer]:
    """Return a method that finds its answer about each path of a folder once in a process."""
    answers: dict[tuple[str, str, str], Answer] = {}

    def answer(source: ConfigSource, config_path: str) -> Answer:
        key = (source.path, source.provider, config_path)
        if key not in answers:
            answers[key] = method(source, config_path)
        return deepcopy(answers[key])

    return answer


# An import of the module would give another class than the one that Hydra has loaded.
for _source in Plugins.instance().discover(ConfigSource):
    if issubclass(_source, ConfigSource) and _source.scheme() == "pkg":
        for _name in ("load_config", "is_config", "is_group"):
            setattr(_source, _name, _remember(getattr(_source, _name)))

with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
    hydra.compose("train")  # also for the processes that are forked from this one
