"""AdapterFusion: single-task adapters, frozen, combined by attention over their outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel, freeze_backbone
from sparsead.adapters.bottleneck import Bottleneck
from sparsead.adapters.contract import ADAPTERS, sum_regularisers
from sparsead.adapters.initialisation import initialise
from sparsead.adapters.pfeiffer import PfeifferAdapter, hook_sums
from sparsead.config.registry import bind_options
from sparsead.config.schema import check_keys
from sparsead.config.values.adapters import check_fused, check_sources
from sparsead.errors import ConfigError, RecordError
from sparsead.exchange.reading import read_adapter

PRUNABLE: dict[str | None, tuple[str, ...]] = {None: (), "qk": ("query.weight", "key.weight")}
OFF_DIAGONAL = 1e-6
REGULARISATION = 0.01

_OPTIONS = ("sources", "adapters", "tasks", "prune")
_FUSION = ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight")


class Fusion(nn.Module):
    """Σ_n softmax_n(q(x) · k(z_n)) · v(z_n), z_n being the change of single-task adapter n.

    Pfeiffer et al., 2021 (arXiv:2005.00247), section 3.2. The query is computed from x, the
    adapters' input.
    """

    def __init__(self, width: int, tasks: Sequence[Bottleneck]) -> None:
        super().__init__()
        self.tasks = nn.ModuleList(tasks)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width, bias=False)
        self.flops = dict.fromkeys(("key.weight", "value.weight"), 2 * len(tasks))

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor of shape (..., width) to the change of the same shape."""
        changes = torch.stack([task(x) for task in self.tasks], dim=-2)
        scores = (self.key(changes) @ self.query(x).unsqueeze(-1)).squeeze(-1)
        weights = scores.softmax(dim=-1).unsqueeze(-2)
        fused: Tensor = (weights @ self.value(changes)).squeeze(-2)
        return fused

    def regulariser(self) -> Tensor:
        """Return 0.01 · ‖V - I‖², which keeps the single-task adapters' outputs as they are."""
        identity = torch.eye(len(self.value.weight), device=self.value.weight.device)
        return REGULARISATION * (self.value.weight - identity).square().sum()


@ADAPTERS.register("fusion")
@dataclass(frozen=True, kw_only=True)
class FusionAdapter:
    """AdapterFusion's second stage: it combines the adapters of the runs in `fusion.sources`.

    The sources are finished runs of the first stage. Their adapters are loaded as they were
    stored, sparse or dense, and stay frozen. Each layer gets a new query, key and value, which
    train with the head. V starts with 1 on the diagonal and 1e-6 elsewhere; query and key start
    from N(0, 0.02²). In training, the regulariser of V is added to the loss.

    Args:
        fusion: `sources`, folders of finished runs with adapter=pfeiffer on the same backbone, or
            of such adapters that another library wrote, and `adapters`, the options of each
            source's adapter. Without sources, the adapters
            are built and their weights are loaded later. `prune` is None, so that no weight is
            prunable, or "qk", so that the matrices of query and key are.
    """

    fusion: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_keys("adapter.fusion", self.fusion, _OPTIONS)
        check_fused({"fusion": self.fusion})
        check_sources({"fusion": self.fusion})

    @property
    def _prune(self) -> str | None:
        return self.fusion.get("prune")

    def insert(self, model: PreTrainedModel, seed: int) -> AdaptedModel:
        """Attach the sources' adapters and their fusion; freeze these adapters and the backbone.

        Raises:
            ConfigError: a source has no such adapter for this backbone, or the architecture has
                no place for it.
        """
        places = hook_sums(model)
        width = model.config.hidden_size
        options = [
            bind_options("adapter", PfeifferAdapter, each)() for each in self.fusion["adapters"]
        ]
        fusions = {p: Fusion(width, [Bottleneck(width, o) for o in options]) for p in places}
        for place, module in places.items():
            module.add_module("adapter", fusions[place])
        for number, source in enumerate(self.fusion.get("sources") or ()):
            single = {place: fusion.tasks[number] for place, fusion in fusions.items()}
            own = self.fusion["adapters"][number]
            _load(source, model.config.model_type, own, single)
        model.register_forward_hook(_add_regulariser)
        return self._adapted(model, places, seed)

    def _adapted(
        self, model: PreTrainedModel, places: Mapping[str, nn.Module], seed: int
    ) -> AdaptedModel:
        new = [f"{place}.adapter.{name}" for place in places for name in _FUSION]
        initialise(model, new, init="bert", seed=seed)
        for module in places.values():
            _nearly_identity(module.adapter.value.weight)  # type: ignore[union-attr, arg-type]
        frozen = [
            f"{place}.adapter.tasks.{name}"
            for place in places
            for name, _ in model.get_submodule(f"{place}.adapter.tasks").named_parameters()
        ]
        prunable = (name for name in new if name.endswith(PRUNABLE[self._prune]))
        return freeze_backbone(model, new, prunable, frozen=frozen)


@torch.no_grad()
def _load(
    source: str, model_type: str, options: Mapping[str, Any], adapters: Mapping[str, nn.Module]
) -> None:
    """Copy the weights of a source into the adapters, given by their place."""
    parameters = {
        f"{place}.adapter.{name}": parameter
        for place, adapter in adapters.items()
        for name, parameter in adapter.named_parameters()
    }
    wanted = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    try:
        tensors = read_adapter(Path(source), options, model_type, wanted)
    except (ConfigError, RecordError) as error:
        raise ConfigError(f"adapter.fusion.sources={source}: {error}") from error
    for name, parameter in parameters.items():
        parameter.copy_(torch.from_numpy(tensors[name]))


@torch.no_grad()
def _nearly_identity(weight: Tensor) -> None:
    weight.fill_(OFF_DIAGONAL).fill_diagonal_(1.0)


def _add_regulariser(model: nn.Module, _inputs: Any, output: Any) -> None:
    """Add every layer's regulariser to the loss of a model in training."""
    if not model.training or not isinstance(output, Mapping) or output.get("loss") is None:
        return
    output["loss"] = output["loss"] + sum_regularisers(model)  # type: ignore[index]
