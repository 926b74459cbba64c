"""The phases of a run: set up, load, prune, fit, score, save; `sparsead.train.run` calls them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.chosen import train_chosen
from sparsead.adapters.contract import Adapter
from sparsead.assembly.build import (
    build_adapter,
    insert_adapter,
    prune_adapter,
    redraw_adapter,
    save_weights,
    weights_metadata,
)
from sparsead.assembly.inputs import Inputs, read_inputs
from sparsead.assembly.start import Start, load_start
from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError
from sparsead.progress import stage
from sparsead.pruning.contract import PRUNERS, Pruner
from sparsead.pruning.masks import Masks
from sparsead.pruning.storage import WEIGHTS_FILE
from sparsead.runs.interrupt import Watch, defer_interrupt
from sparsead.runs.request import RunRequest
from sparsead.runs.staging import check_owned
from sparsead.tasks.checked import check_collator
from sparsead.tasks.contract import Collator, LearnsOptions
from sparsead.training.clock import Clock
from sparsead.training.device import reset_peak_memory, resolve_device
from sparsead.training.duration import TellDuration
from sparsead.training.emulation import fast_products
from sparsead.training.final_scores import evaluated_splits, final_scores
from sparsead.training.history import history
from sparsead.training.labelled import skip_unlabelled
from sparsead.training.patience import AlreadyFinishedError, EarlyStopping, restore_best
from sparsead.training.precision import cast_frozen, resolve_precision
from sparsead.training.prediction import find_directions, store_predictions
from sparsead.training.processes import broadcast_value, is_main
from sparsead.training.resume import (
    checkpoint_epoch,
    open_checkpoint,
    restore_masks,
    restore_precision,
    save_starting_state,
)
from sparsead.training.sampling import scoring_batches, scoring_sample
from sparsead.training.shown import ShowTraining
from sparsead.training.stopping import Stopping
from sparsead.training.tracking import Tracker
from sparsead.training.trainer import SparseadTrainer, build_trainer
from sparsead.training.unpadded import unpad

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """The methods of a run, where it computes, and what it left when it was interrupted before.

    Attributes:
        folder: the staging folder.
        adapter: the adapter method with its options.
        pruner: the pruner with its options.
        device: `cpu`, `cuda` or `mps`.
        precision: `fp32` or `bf16`.
        checkpoint: the checkpoint from which the training resumes, or None.
        resumed_from: the epoch of this checkpoint; 0 without one.
        clock: measures the seconds of each phase.
    """

    folder: Path
    adapter: Adapter
    pruner: Pruner
    device: str
    precision: str
    checkpoint: str | None
    resumed_from: float
    clock: Clock


def set_up(spec: RunSpec, folder: Path) -> Setup:
    """Choose the device and the precision, and find the checkpoint in the staging folder, if any.

    Raises:
        ConfigError: an option of the adapter or the pruner is wrong.
        DeviceError: this machine has no such device, or the device has no such precision.
        RecordError: the checkpoint cannot be read.
    """
    device = resolve_device(spec.device)
    reset_peak_memory(device)
    checkpoint = broadcast_value(open_checkpoint(folder) if is_main() else None)
    resumed_from = checkpoint_epoch(checkpoint)
    clock = Clock(folder, resumed_from)
    requested = restore_precision(folder, checkpoint, spec.precision)
    precision = broadcast_value(resolve_precision(requested, device))
    adapter = build_adapter(spec)
    pruner = PRUNERS.bind(spec.pruner.method, spec.pruner.options)
    return Setup(folder, adapter, pruner, device, precision, checkpoint, resumed_from, clock)


@dataclass(frozen=True)
class Loaded:
    """The backbone with its adapter, and the data."""

    inputs: Inputs
    adapted: AdaptedModel
    collator: Collator
    start: Start

    @property
    def learned_options(self) -> dict[str, Any]:
        """Return the options of the task that were read from the data."""
        task = self.inputs.task
        return dict(task.from_data) if isinstance(task, LearnsOptions) else {}


def load(spec: RunSpec, setup: Setup) -> Loaded:
    """Read the data, build the model with its adapter, and move it to the device.

    Raises:
        ConfigError: an option of the protocol does not go together with the backbone.
    """
    with setup.clock.timed("load"), stage("loading backbone and data"):
        inputs = read_inputs(spec)
        task = inputs.task
        model = inputs.backbone.model(task.head, task.head_options, spec.seeds.init)
        if spec.protocol.gradient_checkpointing and not model.supports_gradient_checkpointing:
            raise ConfigError(
                f"protocol.gradient_checkpointing=true: backbone={spec.backbone.name} does not "
                "support it; leave it out"
            )
        adapted = insert_adapter(spec, setup.adapter, model)
        start = load_start(spec, adapted)
        nn.Module.to(model, setup.device)  # the types of `PreTrainedModel.to` do not allow a name
        collator = check_collator(task.collator(inputs.backbone.tokenizer))
        if spec.protocol.torch_compile:
            log.info("batches are padded: protocol.torch_compile=true")
        else:
            collator = unpad(model, collator, setup.precision)
        skip_unlabelled(model)
    return Loaded(inputs, adapted, collator, start)


@dataclass(frozen=True)
class Pruned:
    """The result of pruning: the masks, the model, and the examples that gave the scores."""

    masks: Masks
    trained: AdaptedModel
    scored_on: list[int]


def prune(spec: RunSpec, setup: Setup, loaded: Loaded) -> Pruned:
    """Score and remove weights; a run that resumes takes its masks from the checkpoint."""
    adapted, train_set = loaded.adapted, loaded.inputs.data["train"]

    def redraw() -> dict[str, Tensor]:
        task = loaded.inputs.task
        other = loaded.inputs.backbone.model(task.head, task.head_options, spec.seeds.init)
        return redraw_adapter(spec, setup.adapter, other, adapted.prunable)

    with setup.clock.timed("prune"), stage(f"scoring the weights by {spec.pruner.name}"):
        scored_on = scoring_sample(train_set, spec.seeds.mask) if spec.masked else []
        if setup.checkpoint is None:
            batches = scoring_batches(train_set.select(scored_on), loaded.collator, adapted.model)
            masks = loaded.start.chosen or prune_adapter(
                spec, setup.pruner, adapted, batches, redraw
            )
            masks = share_masks(masks, adapted)
            loaded.start.tell_restored(masks)
            check_owned(setup.folder)
            save_starting_state(setup.folder, masks, setup.precision)
        else:
            masks = restore_masks(setup.folder, adapted)
        trained = adapted if adapted.budget is None else train_chosen(adapted, masks)
    cast_frozen(trained, setup.precision)
    return Pruned(masks, trained, scored_on)


def share_masks(masks: Masks, adapted: AdaptedModel) -> Masks:
    """Return the masks of the first process, which all processes then have.

    On GPUs the processes may compute scores that differ in the last bit, and with them masks.
    """
    first = broadcast_value(masks)
    if first is not masks and adapted.budget is None:
        first.enforce(adapted.model)
    return first


def fit(
    spec: RunSpec,
    setup: Setup,
    loaded: Loaded,
    pruned: Pruned,
    tracker: Tracker,
    watch: Watch | None,
) -> SparseadTrainer:
    """Train the adapter and the head, and return the trainer after its last step.

    Raises:
        TrainingStopped: `watch` stopped the training.
    """
    inputs, precision = loaded.inputs, setup.precision
    with setup.clock.timed("train"), defer_interrupt() as interrupted, stage("starting") as shown:
        trainer = build_trainer(
            spec,
            loaded.adapted.model,
            inputs.data,
            inputs.backbone.tokenizer,
            inputs.task,
            loaded.collator,
            setup.folder,
            precision,
            pruned.trained.head,
        )
        trainer.add_callback(setup.clock)  # before Stopping, which may raise at a checkpoint
        trainer.add_callback(Stopping(trainer, interrupted, watch))
        trainer.add_callback(EarlyStopping(trainer, spec.protocol.patience))
        trainer.add_callback(ShowTraining(trainer, shown))
        tracker.attach(trainer)
        where = f"{setup.device} in {precision}"
        trainer.add_callback(TellDuration(spec, inputs.task, inputs.described, where))
        _tell_weights(loaded.adapted, pruned.masks)
        with suppress(AlreadyFinishedError), fast_products(precision, setup.device):
            trainer.train(resume_from_checkpoint=setup.checkpoint)
    return trainer


def score(
    request: RunRequest, setup: Setup, loaded: Loaded, trainer: SparseadTrainer
) -> dict[str, Any]:
    """Score the predictions of the last or the best epoch, store them, and return the scores."""
    spec, folder, task, data = request.spec, setup.folder, loaded.inputs.task, loaded.inputs.data
    epochs = history(trainer)
    last: Mapping[str, Any] = epochs[-1]
    best: dict[str, float] = {}
    with setup.clock.timed("report"), stage("scoring the predictions"):
        held_out = spec.protocol.selection > 0
        with fast_products(setup.precision, setup.device):
            if spec.protocol.patience is not None:
                last, epoch = restore_best(trainer, folder)
                best = {"best_epoch": epoch}
            scores = final_scores(trainer, task, data, folder, last, held_out)
        splits = evaluated_splits(task, data, held_out)
        predictions = store_predictions(task, folder, splits, request.identity) if is_main() else {}
    return {
        **scores,
        "predictions": predictions,
        "higher_is_better": trainer.higher_is_better(next(iter(scores["scores"]))),
        "directions": find_directions(task, [*scores["scores"]], splits),
        "history": epochs,
        **best,
    }


def save(request: RunRequest, setup: Setup, loaded: Loaded, pruned: Pruned) -> Path:
    """Write the trained weights and the masks, in one process of several, and return their file."""
    weights = setup.folder / WEIGHTS_FILE
    if is_main():
        fingerprint = loaded.inputs.backbone.fingerprint()
        metadata = weights_metadata(request.spec, request.identity, fingerprint)
        check_owned(setup.folder)
        save_weights(weights, pruned.trained, pruned.masks, metadata)
    return weights


def _tell_weights(adapted: AdaptedModel, masks: Masks) -> None:
    """Log how many weights train, and how many are removed."""
    train = sum(p.numel() for p in adapted.model.parameters() if p.requires_grad)
    if adapted.budget is None:
        log.info(
            "%s weights train; %s of %s prunable ones are removed (%.2f %%)",
            *(f"{number:,}" for number in (train - masks.removed, masks.removed, masks.total)),
            100 * masks.sparsity,
        )
    else:
        log.info(
            "%s weights train; %s of them are among %s of the backbone (%.3g %%)",
            *(f"{number:,}" for number in (train, masks.total - masks.removed, masks.total)),
            100 * (1 - masks.sparsity),
        )
