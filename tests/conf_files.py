"""How the tests compose configurations: what Hydra has read or merged once, it takes again.

Nearly every test composes a configuration, and most of them choose the same files of conf/. Hydra
chooses the files by the overrides of groups, reads and merges them, and applies the overrides of
values to the result. All but this last step is done once in a process for each choice of files. The
results are kept pickled, because a deep copy of an OmegaConf object takes several times as long.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, TypeVar

import hydra
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource
from omegaconf import DictConfig

Answer = TypeVar("Answer")
Place = tuple[str, ...]
"""The packages in which Hydra looks for files."""


def _remember(
    method: Callable[[ConfigSource, str], Answer],
) -> Callable[[ConfigSource, str], Answer]:
    """Return a method that finds its answer about each path of a folder once in a process."""
    answers: dict[tuple[str, str, str], bytes] = {}

    def answer(source: ConfigSource, config_path: str) -> Answer:
        key = (source.path, source.provider, config_path)
        if key not in answers:
            answers[key] = pickle.dumps(method(source, config_path))
        found: Answer = pickle.loads(answers[key])
        return found

    return answer


def _place(repo: Any) -> Place | None:
    """Return the packages whose files a repository of Hydra's has; None if it has other files."""
    sources = repo.get_sources()
    of_packages = all(source.scheme() in ("pkg", "structured") for source in sources)
    return tuple(source.path for source in sources) if of_packages else None


def _remember_choices(choose: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that chooses files once for the same overrides of groups.

    Args:
        choose: Hydra's `create_defaults_list`. It passes on the overrides of values, of which it
            has no use itself; a key with a dot is always one of these.
    """
    chosen: dict[tuple[object, ...], Any] = {}

    def choose_files(
        repo: Any, config_name: str | None, overrides_list: Sequence[Override], **how: bool
    ) -> Any:
        place = _place(repo)
        if place is None:
            return choose(repo, config_name, overrides_list, **how)
        dotted = [each for each in overrides_list if "." in each.key_or_group]
        others = [each for each in overrides_list if "." not in each.key_or_group]
        key = (place, config_name, *(each.input_line for each in others), *how.items())
        if key not in chosen:
            chosen[key] = choose(repo, config_name, others, **how)
        passed_on = [each.input_line for each in (*chosen[key].config_overrides, *dotted)]
        return replace(
            chosen[key],
            config_overrides=[
                each
                for each in overrides_list
                if each.input_line in passed_on and not each.is_sweep_override()
            ],
        )

    return choose_files


def _remember_merges(merge: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Return a method that merges the same files once."""
    merged: dict[tuple[object, ...], bytes] = {}

    def merge_files(loader: object, defaults: Sequence[ResultDefault], repo: Any) -> DictConfig:
        place = _place(repo)
        if place is None:
            return merge(loader, defaults, repo)
        key = (place, *map(repr, defaults))
        if key not in merged:
            merged[key] = pickle.dumps(merge(loader, defaults, repo))
        found: DictConfig = pickle.loads(merged[key])
        return found

    return merge_files


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
    _module: Any = sys.modules[_class.__module__]
    _merge = "_compose_config_from_defaults_list"
    setattr(_class, _merge, _remember_merges(getattr(_class, _merge)))
    _module.create_defaults_list = _remember_choices(_module.create_defaults_list)
    setattr(type(vars(_loader)["repository"]), "__deepcopy__", _copy_repository)  # noqa: B010
    hydra.compose("train")  # also for the processes that are forked from this one
