"""Configurations composed in the test's own process, as Hydra composes them for a run."""

from __future__ import annotations

import hydra

from sparsead.config.run import RunSpec
from sparsead.runs.request import RunRequest


def compose(*overrides: str) -> RunSpec:
    """Return the checked run that these overrides give."""
    return ask_for(*overrides).spec


def ask_for(*overrides: str) -> RunRequest:
    """Return the checked run that these overrides give, and where its record lands."""
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        return RunRequest.from_config(hydra.compose("train", list(overrides)))
