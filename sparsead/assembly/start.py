"""Starting a run from weights that were trained before, instead of from new ones."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.chosen import PLACES, VALUES, read_places
from sparsead.backbones.heads import list_backbone_parameters
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError, RecordError
from sparsead.exchange.reading import load_run, read_adapter, read_chosen, read_head
from sparsead.pruning.masks import Masks
from sparsead.runs.foreign import is_foreign
from sparsead.runs.record import RunRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What the start of a run says of its prunable weights.

    `removed` is True where one is zero, by name. `chosen` has the masks of an adapter that trains
    chosen weights of the backbone, and is None for other adapters and without a start.
    """

    removed: Mapping[str, Tensor]
    chosen: Masks | None = None

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
    source = Path(spec.adapter.start)
    try:
        if adapted.budget is None:
            start = _copy_adapter(spec, adapted, source)
        else:
            start = Start({}, _copy_chosen(spec, adapted, source, adapted.budget))
        if spec.adapter.start_head:
            shapes = _shapes(adapted, adapted.head)
            _copy(adapted, read_head(source, shapes, _list_backbone(adapted)))
    except (ConfigError, RecordError) as error:
        raise ConfigError(f"adapter.start={spec.adapter.start}: {error}") from error
    starts = "and the head start" if spec.adapter.start_head else "starts"
    log.info("the adapter %s from %s", starts, spec.adapter.start)
    return start


def _copy_adapter(spec: RunSpec, adapted: AdaptedModel, source: Path) -> Start:
    model_type = adapted.model.config.model_type
    wanted = _shapes(adapted, adapted.adapter)
    _copy(adapted, read_adapter(source, spec.adapter.options, model_type, wanted))
    return Start({name: adapted.model.get_parameter(name) == 0 for name in adapted.prunable})


def _copy_chosen(spec: RunSpec, adapted: AdaptedModel, source: Path, budget: int) -> Masks:
    """Write the chosen weights of the start into the backbone, and return where they are.

    Raises:
        ConfigError: there are more or fewer than the budget.
    """
    parameters = {name: adapted.model.get_parameter(name) for name in adapted.prunable}
    found = _read_shira(source, parameters) if is_foreign(source) else _read_run(source, adapted)
    count = sum(len(indices) for indices, _ in found.values())
    if count != budget:
        share = count / sum(parameter.numel() for parameter in parameters.values())
        raise ConfigError(
            f"changes {count} weights, and adapter.budget={spec.adapter.options['budget']} is "
            f"{budget}; set adapter.budget={share!r}"
        )
    masks = {name: torch.zeros_like(each, dtype=torch.bool) for name, each in parameters.items()}
    for name, (indices, values) in found.items():
        parameters[name].view(-1)[indices] = values.to(parameters[name].dtype)
        masks[name].view(-1)[indices] = True
    return Masks(masks)


def _read_shira(source: Path, parameters: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    matrices = {
        name.removesuffix(".weight"): matrix.detach().numpy()
        for name, matrix in parameters.items()
        if name.endswith(".weight")
    }
    found = {
        layer: [torch.from_numpy(part) for part in parts]
        for layer, parts in read_chosen(source, matrices).items()
    }
    return {f"{layer}.weight": (indices, values) for layer, (indices, values) in found.items()}


def _read_run(source: Path, adapted: AdaptedModel) -> dict[str, tuple[Tensor, Tensor]]:
    record = RunRecord.read(source)
    tensors = {name: torch.from_numpy(tensor) for name, tensor in load_run(record).items()}
    _check_layers(tensors, adapted, record.result["config"]["adapter"]["options"].get("sites", ()))
    found = {}
    for name, indices in read_places(adapted, tensors).items():
        values = tensors.get(f"{name.rpartition('.')[0]}.adapter.{VALUES}")
        if values is None or values.shape != indices.shape:
            raise ConfigError(f"has no values of the {len(indices)} weights of {name}")
        found[name] = indices, values
    return found


def _check_layers(tensors: Iterable[str], adapted: AdaptedModel, sites: Iterable[str]) -> None:
    """Refuse a start that changes a layer of which this run cannot train a weight.

    Args:
        tensors: the names of the start's tensors.
        adapted: the model of this run.
        sites: the option `adapter.sites` of the start; empty if its adapter has none.
    """
    own = {name.rpartition(".")[0] for name in adapted.prunable}
    changed = [name.rpartition(".adapter.") for name in tensors]
    lost = [layer for layer, _, part in changed if part == PLACES and layer not in own]
    if lost:
        remedy = f"; set adapter.sites=[{','.join(sites)}]" if sites else ""
        raise ConfigError(f"it changes {lost[0]}, of which this run trains no weights{remedy}")


def _list_backbone(adapted: AdaptedModel) -> list[str]:
    """Return the names of the parameters that the bare backbone has, without the head."""
    of_backbone = {id(parameter) for parameter in list_backbone_parameters(adapted.model)}
    return [name for name, each in adapted.model.named_parameters() if id(each) in of_backbone]


def _shapes(adapted: AdaptedModel, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(adapted.model.get_parameter(name).shape) for name in names}


def _copy(adapted: AdaptedModel, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    for name, tensor in tensors.items():
        adapted.model.get_parameter(name).copy_(torch.from_numpy(tensor))
