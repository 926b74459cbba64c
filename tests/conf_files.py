"""How the tests compose configurations: what Hydra has read or composed once, it takes again.

Reading the files of conf/ takes a third of a composition, nearly every test composes one, and
`sparsead train` composes the same one twice before Hydra runs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import copy, deepcopy
from inspect import signature
from typing import Any, TypeVar

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource
from omegaconf import DictConfig

Answer = TypeVar("Answer")
_COMPOSITIONS = 256
"""So many are kept, of 0.2 MB each."""


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


def _remember_compositions(compose: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Return a method that composes the same overrides once, if only packages' files are read."""
    composed: dict[tuple[object, ...], DictConfig] = {}
    parameters = signature(compose)

    def load_configuration(
        loader: ConfigLoader, config_name: str | None, overrides: list[str], *how: Any, **named: Any
    ) -> DictConfig:
        places = [place.path for place in loader.get_search_path().get_path()]
        of_packages = all(str(path).startswith(("pkg://", "structured://")) for path in places)
        if not of_packages or any(_is_composed_once(override) for override in overrides):
            return compose(loader, config_name, overrides, *how, **named)
        given = parameters.bind(loader, config_name, overrides, *how, **named)
        given.apply_defaults()
        _, _, _, *settings = given.arguments.values()
        key = (*places, config_name, *overrides, *settings, os.getcwd())
        if key not in composed:
            composed[key] = compose(loader, config_name, overrides, *how, **named)
        if len(composed) > _COMPOSITIONS:
            del composed[next(iter(composed))]
        return deepcopy(composed[key])

    return load_configuration


def _is_composed_once(override: str) -> bool:
    """Tell whether other files are read too, or a folder is named that no other test has."""
    return "hydra.searchpath" in override or override.startswith("outputs=")


def _copy_repository(repository: Any, _copied: object) -> Any:
    """Copy Hydra's list of sources without the sources themselves, which do not change."""
    copied = copy(repository)
    copied.sources = list(repository.sources)
    return copied


# An import of the module would give another class than the one that Hydra has loaded.
for _source in Plugins.instance().discover(ConfigSource):
    if issubclass(_source, ConfigSource) and _source.scheme() == "pkg":
        for _name in ("load_config", "is_config", "is_group"):
            setattr(_source, _name, _remember(getattr(_source, _name)))

with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
    _loader = GlobalHydra.instance().config_loader()
    _class: Any = type(_loader)
    _class.load_configuration = _remember_compositions(_class.load_configuration)
    setattr(type(vars(_loader)["repository"]), "__deepcopy__", _copy_repository)  # noqa: B010
    hydra.compose("train")  # also for the processes that are forked from this one
