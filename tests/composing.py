"""Configurations composed in the test's own process, as Hydra composes them for a run."""

from __future__ import annotations

from functools import cache

import hydra
from omegaconf import DictConfig, OmegaConf

from sparsead.config.quoting import read_value
from sparsead.config.run import RunSpec
from sparsead.runs.request import RunRequest

_OUTPUTS = "outputs="


def compose(*overrides: str) -> RunSpec:
    """Return the checked run that these overrides give."""
    return ask_for(*overrides).spec


def ask_for(*overrides: str) -> RunRequest:
    """Return the checked run that these overrides give, and where its record lands."""
    outputs = [read_value(each) for each in overrides if each.startswith(_OUTPUTS)]
    config = _compose(tuple(each for each in overrides if not each.startswith(_OUTPUTS)))
    if outputs:
        config = config.copy()
        config.outputs = outputs[-1]
    return RunRequest.from_config(config)


def launched_by(launcher: str) -> DictConfig:
    """Return what the launchers' helpers read of a sweep's configuration with this launcher."""
    return OmegaConf.create({"hydra": {"runtime": {"choices": {"hydra/launcher": launcher}}}})


@cache
def _compose(overrides: tuple[str, ...]) -> DictConfig:
    """Compose a configuration once in a process: Hydra needs a large part of a second for each.

    The folder of the outputs is left out, because nearly every test has one of its own.
    """
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        return hydra.compose("train", list(overrides))
