"""Configurations composed in the test's own process, as Hydra composes them for a run."""

from __future__ import annotations

import hydra

from sparsead.config.run import RunSpec


def compose(*overrides: str) -> RunSpec:
    """Return the checked run that these overrides give."""
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        return RunSpec.from_config(hydra.compose("train", list(overrides)))
