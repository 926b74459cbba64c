"""The steps of assembling a run's model that training, rebuilding and counting share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.contract import ADAPTERS, Adapter
from sparsead.backbones.places import SiteError, build_insertion_error
from sparsead.config.run import RunSpec
from sparsead.config.values.adapters import check_tuner_pruned
from sparsead.errors import ConfigError
from sparsead.pruning.contract import Pruner
from sparsead.pruning.controls import Redraw
from sparsead.pruning.masks import Masks
from sparsead.pruning.prune import choose_weights, prune
from sparsead.pruning.scoring import ZeroTensorsError
from sparsead.pruning.storage import save_sparse
from sparsead.seeding import derive_seed
from sparsead.tasks.contract import TASKS, Task, check_scored


def build_task(spec: RunSpec) -> Task:
    """Return the run's task; its options are checked, but its data is not loaded.

    Raises:
        ConfigError: the method or one of its options is unknown, or the method is not a task.
    """
    task = TASKS.bind(spec.task.method, spec.task.arguments())()
    check_scored(task, spec.task.method)
    return task


def build_adapter(spec: RunSpec) -> Adapter:
    """Return the run's adapter method; its options are checked.

    Raises:
        ConfigError: the method or one of its options is unknown, or the method is not an adapter.
    """
    return ADAPTERS.bind(spec.adapter.method, spec.adapter.options)()


def insert_adapter(
    spec: RunSpec, adapter: Adapter, model: PreTrainedModel, seed: int | None = None
) -> AdaptedModel:
    """Insert the run's adapter into the model.

    Args:
        spec: the run.
        adapter: its adapter method.
        model: the model.
        seed: of the initial weights; None takes the run's.

    Raises:
        SiteError: the architecture lacks a site of the adapter; the message names both.
        ConfigError: an adapter of the user's own takes other arguments, or returned something else.
    """
    given = (model, spec.seeds.init if seed is None else seed)
    try:
        signature(adapter.insert).bind(*given)
    except TypeError as error:
        raise ConfigError(
            f"adapter._target_={spec.adapter.method}: insert must take a model and a seed ({error})"
        ) from error
    try:
        adapted = adapter.insert(*given)
    except SiteError as error:
        raise build_insertion_error(spec.adapter.name, spec.backbone.name, error) from error
    if not isinstance(adapted, AdaptedModel):
        raise ConfigError(
            f"adapter._target_={spec.adapter.method}: insert returned a {type(adapted).__name__}; "
            "it must return an AdaptedModel, as freeze_backbone does"
        )
    return adapted


def redraw_adapter(
    spec: RunSpec, adapter: Adapter, model: PreTrainedModel, prunable: Iterable[str]
) -> dict[str, Tensor]:
    """Return other initial values of the adapter's prunable tensors, by name.

    Args:
        spec: the run.
        adapter: its adapter method.
        model: another copy of the backbone, into which the adapter is inserted with another seed.
        prunable: names of the tensors.
    """
    seed = derive_seed(spec.seeds.init, "reinit")
    drawn = insert_adapter(spec, adapter, model, seed).model
    return {name: drawn.get_parameter(name).detach() for name in prunable}


def prune_adapter(
    spec: RunSpec,
    pruner: Pruner,
    adapted: AdaptedModel,
    batches: Iterable[Any],
    redraw: Redraw | None = None,
) -> Masks:
    """Prune the adapter as configured, and return the masks, which keep removed weights at zero.

    Weights are scored by the loss that the model computes itself, without the label smoothing and
    the class weights of the protocol.

    If the adapter has a budget, the masks only say which weights train: (1 - sparsity) · budget.

    Args:
        spec: the run.
        pruner: its pruner.
        adapted: the model with its adapter.
        batches: the scoring set.
        redraw: returns other initial weights, for pruner.control=reinit.

    Raises:
        SparseadError: the scores are all zero or not finite, the pruner cannot reach the sparsity,
            or removed weights would switch off parts of the backbone.
    """
    if spec.adapter.method == "peft" and spec.masked:
        check_tuner_pruned(spec.adapter.options)
    arguments: dict[str, Any] = {
        "tensors": adapted.prunable,
        "sparsity": removed_share(spec, adapted),
        "pruner": pruner,
        "batches": batches,
        "loss": lambda model, batch: model(**batch).loss,
        "scope": spec.pruner.scope,
        "probe": spec.pruner.probe,
        "minimum_kept": spec.pruner.minimum_kept if adapted.budget is None else 0.0,
        "seed": spec.seeds.mask,
        "control": spec.pruner.control,
    }
    try:
        if adapted.budget is not None:
            return choose_weights(adapted.model, **arguments)
        return prune(adapted.model, **arguments, redraw=redraw)
    except ZeroTensorsError as error:
        if "init" not in spec.adapter.options:
            raise
        raise ZeroTensorsError(f"{error}, or adapter.init=bert") from error


def removed_share(spec: RunSpec, adapted: AdaptedModel) -> float:
    """Return the share of the prunable weights that the masks remove.

    Raises:
        ConfigError: the sparsity leaves no weight of the budget.
    """
    if adapted.budget is None:
        return spec.sparsity
    total = sum(adapted.model.get_parameter(name).numel() for name in adapted.prunable)
    kept = round((1 - spec.sparsity) * adapted.budget)
    if kept == 0:
        raise ConfigError(
            f"sparsity.ratio={spec.sparsity:g}: leaves none of the {adapted.budget} weights of "
            f"adapter.budget={spec.adapter.options.get('budget')}"
        )
    return 1 - kept / total


def save_weights(
    file: Path, adapted: AdaptedModel, masks: Masks, metadata: Mapping[str, Any]
) -> None:
    """Write the run's weights file: the kept weights, the masks and the metadata.

    Args:
        file: the file to write.
        adapted: the trained model.
        masks: the masks of its prunable tensors.
        metadata: the metadata, from `weights_metadata`.
    """
    save_sparse(
        file,
        {name: tensor.numpy() for name, tensor in adapted.trained_state().items()},
        {name: mask.cpu().numpy() for name, mask in masks.items() if name in adapted.stored},
        metadata,
    )


def weights_metadata(
    spec: RunSpec, identity: str, fingerprint: Mapping[str, str]
) -> dict[str, Any]:
    """Return the metadata of a run's weights file.

    Args:
        spec: the run.
        identity: the run's identity.
        fingerprint: SHA-256 of each of the backbone's weights files.
    """
    return {"identity": identity, "backbone": dict(fingerprint), "config": spec.to_dict()}
