"""One run's overrides composed and checked outside Hydra's own main, and its errors in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sparsead.config.choices import choices
from sparsead.config.overrides import expand
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError, unknown, unknown_key

Read = TypeVar("Read")


def compose(overrides: Sequence[str]) -> RunSpec:
    """Return the checked run that `sparsead train OVERRIDES` would do.

    Raises:
        ConfigError: an override is wrong.
    """
    return compose_as(RunSpec.from_config, overrides)


def compose_as(read: Callable[[DictConfig], Read], overrides: Sequence[str]) -> Read:
    """Return what `read` makes of the configuration of one run.

    Args:
        read: such as `RunSpec.from_config`.
        overrides: of `sparsead train`.

    Raises:
        ConfigError: an override is wrong.
    """
    with _initialised():
        try:
            config = hydra.compose("train", expand(overrides), return_hydra_config=True)
            check_no_grid(config, overrides)
            if "search" in config:
                raise ConfigError(f"search={config.search.name}: is of `sparsead train` alone")
            return read(config)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(describe_error(error)) from error


def check_no_grid(config: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse a configuration that is a sweep of its own, such as search=grid, for one run.

    Args:
        config: composed with Hydra's own keys.
        overrides: that it was composed of; a key that they give is no longer swept.

    Raises:
        ConfigError: a key is left to sweep.
    """
    given = {override.partition("=")[0] for override in overrides}
    swept = [key for key in list_swept_keys(config) if key not in given]
    if swept:
        chosen = " ".join(
            o for o in overrides if o.startswith(("search=", "protocol=", "experiment="))
        )
        raise ConfigError(
            f"{chosen}: sweeps {', '.join(swept)}; give one value of each here, or do the whole "
            "of it with a sparsead train of its own"
        )


def list_swept_keys(config: DictConfig) -> list[str]:
    """Return the keys that a configuration, composed with Hydra's own, sweeps by itself."""
    return [str(key) for key in OmegaConf.select(config, "hydra.sweeper.params") or {}]


def _initialised() -> AbstractContextManager[object]:
    """Give Hydra the project's configuration, unless this is inside a job of its own."""
    if GlobalHydra.instance().is_initialized():
        return nullcontext()
    return hydra.initialize_config_module("sparsead.conf", version_base="1.3")


def describe_error(error: BaseException) -> str:
    """Return what went wrong in one line, with the nearest choice where a name is unknown."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _describe_unknown_choice(str(error.missing_cfg_file), error.options)
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None:
        return _describe_unknown_key(error)
    if isinstance(error, OverrideParseException):
        reason = str(error.message).splitlines()[-2:][0]  # the last line names a page on the web
        return f"{error.override}: cannot be read as KEY=VALUE ({reason})"
    if str(error).startswith("Ambiguous value"):
        return f"{_first_line(error)}: add -m to sweep over its values"
    return _first_line(error)


def _describe_unknown_choice(file: str, options: Sequence[str]) -> str:
    if file.startswith("experiment/"):  # its choices lie in folders, where Hydra does not look
        return unknown(
            "experiment", file.removeprefix("experiment/"), [*choices("experiment"), *options]
        )
    group, _, choice = file.rpartition("/")
    if group == "hydra/launcher" and choice in _LAUNCHERS:
        extra = _LAUNCHERS[choice]
        return f"{group}={choice}: is not installed; pip install 'sparsead[{extra}]'"
    return unknown(group, choice, options)


_LAUNCHERS = {
    "joblib": "joblib",
    "ray": "ray",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
}
"""The extra of the project that brings each of Hydra's launchers."""


def _describe_unknown_key(error: BaseException) -> str:
    cause = error.__cause__
    parent = getattr(cause, "parent_node", None)
    if not isinstance(cause, OmegaConfBaseException) or not isinstance(parent, DictConfig):
        return _first_line(error)
    unchosen = () if "." in str(cause.full_key) else _UNCHOSEN
    return unknown_key(str(cause.full_key), {*map(str, parent), *unchosen})


_UNCHOSEN = ("experiment", "search")
"""The groups that a run need not choose from: Hydra's configuration then has no such key."""


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
