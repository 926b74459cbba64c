"""The transformers configuration of a backbone: from its folder, or from its file in conf/."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from sparsead.backbones.checks import STANDARD
from sparsead.backbones.folders import check_plain, translate_read_errors
from sparsead.config.groups import BackboneSpec
from sparsead.errors import ConfigError, unknown
from sparsead.errors.translation import translate_errors

NO_CODE: dict[str, Any] = {"trust_remote_code": False}
"""Without this option, transformers asks whether to run a Python file that is in the folder."""


def folder_config(folder: Path, options: Mapping[str, Any]) -> PretrainedConfig:
    """Return the configuration in a backbone's folder, with these options set.

    Output options of an earlier fine-tuning are replaced by the defaults, and its labels if
    `options` has others.

    Raises:
        SourceError: the folder has no configuration that can be read, or none that can be trusted.
    """
    check_plain(folder)
    options = {**STANDARD, **options}
    with translate_read_errors(folder, "cannot be loaded"):
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, **NO_CODE, **options)
    return config


def architecture_config(spec: BackboneSpec, options: Mapping[str, Any]) -> PretrainedConfig:
    """Return the transformers configuration described by the backbone's file in conf/.

    Raises:
        ConfigError: transformers does not know the model type, or refuses a value.
    """
    arguments = {**spec.architecture, **options}
    name = str(arguments.pop("model_type", None))
    if name not in CONFIG_MAPPING:
        message = unknown("backbone.architecture.model_type", name, CONFIG_MAPPING)
        said = message.partition(" (allowed")[0]  # there are hundreds
        raise ConfigError(f"{said}; it is the name of an architecture of transformers")
    with explain_architecture(spec):
        config: PretrainedConfig = AutoConfig.for_model(name, **arguments)
    return config


def explain_architecture(spec: BackboneSpec) -> AbstractContextManager[None]:
    """Turn what a library raises for shapes that no model can have into a ConfigError."""
    said = f"backbone.architecture={spec.architecture}"
    return translate_errors(lambda reason: ConfigError(f"{said}: {reason}"))
