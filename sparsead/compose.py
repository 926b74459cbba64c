"""One run's overrides composed and checked outside Hydra's own main, and its errors in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence

import hydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sparsead.config import RunSpec
from sparsead.errors import ConfigError, unknown, unknown_key
from sparsead.overrides import expand


def compose(overrides: Sequence[str]) -> RunSpec:
    """Return the checked run that `sparsead train OVERRIDES` would do.

    Raises:
        ConfigError: an override is wrong.
    """
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        try:
            config = hydra.compose("train", expand(overrides))
            if "search" in config:
                raise ConfigError(f"search={config.search.name}: is of `sparsead train` alone")
            return RunSpec.from_config(config)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(describe(error)) from error


def describe(error: BaseException) -> str:
    """Return what went wrong in one line, with the nearest choice where a name is unknown."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return unknown(group, choice, error.options)
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None:
        return _describe_unknown_key(error)
    return _first_line(error)


def _describe_unknown_key(error: BaseException) -> str:
    cause = error.__cause__
    key = re.search(r"Could not override '([^']+)'", str(error))
    parent = getattr(cause, "parent_node", None)
    if key is None or not isinstance(parent, DictConfig):
        return _first_line(error)
    return unknown_key(key.group(1), (str(name) for name in parent))


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
