"""Starting a run from weights that were trained before, instead of from random ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sparsead.adapters.adapted import AdaptedModel
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError, RecordError
from sparsead.exchange.reading import read_adapter, read_head

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Which prunable weights the start of a run has removed: by name, True where one is zero."""

    removed: Mapping[str, Tensor]

    def tell_restored(self, masks: Mapping[str, Tensor]) -> None:
        """Print how many of these weights this run's masks keep, so that they train again."""
        restored = sum(
            int(
                (removed & masks[name].to(removed.device)).sum() if name in masks else removed.sum()
            )
            for name, removed in self.removed.items()
        )
        if restored:
            zeros = sum(int(removed.sum()) for removed in self.removed.values())
            total = sum(removed.numel() for removed in self.removed.values())
            log.info(
                "%d weights that were removed in the start train again; pruner=magnitude "
                "sparsity=%.6g keeps them removed",
                restored,
                zeros / total,
            )


@torch.no_grad()
def load_start(spec: RunSpec, adapted: AdaptedModel) -> Start:
    """Copy the weights of `adapter.start`, if there is one, into the adapter.

    With `adapter.start_head` those of its head are copied too.

    Raises:
        ConfigError: they are not of this run's adapter or head, or cannot be read.
    """
    if spec.adapter.start is None:
        return Start({})
    if not adapted.adapter:
        raise ConfigError(f"adapter.start: adapter={spec.adapter.name} has no weights of its own")
    parameters = {name: adapted.model.get_parameter(name) for name in adapted.adapter}
    wanted = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    try:
        tensors = read_adapter(
            Path(spec.adapter.start),
            spec.adapter.options,
            adapted.model.config.model_type,
            wanted,
        )
        if spec.adapter.start_head:
            head = {name: adapted.model.get_parameter(name) for name in adapted.head}
            shapes = {name: tuple(parameter.shape) for name, parameter in head.items()}
            tensors |= read_head(Path(spec.adapter.start), shapes)
            parameters |= head
    except (ConfigError, RecordError) as error:
        raise ConfigError(f"adapter.start={spec.adapter.start}: {error}") from error
    for name, parameter in parameters.items():
        parameter.copy_(torch.from_numpy(tensors[name]))
    starts = "and the head start" if spec.adapter.start_head else "starts"
    log.info("the adapter %s from %s", starts, spec.adapter.start)
    return Start({name: parameters[name] == 0 for name in adapted.prunable})
