"""One run, from top to bottom: load → insert → prune → train → evaluate → record.

`docs/architecture.md` says what happens before, and in which file each step is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor, nn

from sparsead.adapters.accounting import count_adapter_costs
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.chosen import train_chosen
from sparsead.assembly.build import (
    build_adapter,
    insert_adapter,
    prune_adapter,
    redraw_adapter,
    save_weights,
    weights_metadata,
)
from sparsead.assembly.inputs import read_inputs
from sparsead.assembly.start import load_start
from sparsead.cli import run as run_verb
from sparsead.config.compose import compose_as
from sparsead.config.quoting import format_override
from sparsead.errors import RecordError
from sparsead.progress import stage
from sparsead.pruning.contract import PRUNERS
from sparsead.pruning.masks import Masks
from sparsead.pruning.storage import WEIGHTS_FILE
from sparsead.runs.interrupt import Watch, defer_interrupt
from sparsead.runs.provenance import describe_provenance
from sparsead.runs.record import RunRecord, find_record, write_result
from sparsead.runs.request import RunRequest, do_prerequisites
from sparsead.runs.sources import describe_sources
from sparsead.runs.staging import check_owned
from sparsead.runs.unfinished import STARTED_FILE, note_started
from sparsead.tasks.contract import LearnsOptions
from sparsead.training.clock import Clock
from sparsead.training.device import (
    describe_environment,
    deterministic_algorithms,
    reset_peak_memory,
    resolve_device,
)
from sparsead.training.duration import TellDuration
from sparsead.training.final_scores import evaluated_splits, final_scores
from sparsead.training.history import history
from sparsead.training.labelled import skip_unlabelled
from sparsead.training.patience import Ending, HasEndedError, restore_best
from sparsead.training.precision import resolve_precision, store_frozen
from sparsead.training.prediction import remove_unfinished_predictions, store_predictions
from sparsead.training.processes import broadcast_value, is_main, stage_once
from sparsead.training.resume import (
    checkpoint_epoch,
    open_checkpoint,
    remove_checkpoints,
    restore_masks,
    restore_precision,
    save_starting_state,
    saved_steps,
)
from sparsead.training.sampling import scoring_batches, scoring_sample
from sparsead.training.shown import ShowTraining
from sparsead.training.stopping import Stopping
from sparsead.training.tracking import Tracker, describe_result, tracked
from sparsead.training.trainer import build_trainer
from sparsead.training.unpadded import unpad

log = logging.getLogger(__name__)


def train(request: RunRequest, watch: Watch | None = None) -> RunRecord:
    """Train, evaluate and record one run.

    Args:
        request: the run; with `rerun` its new record replaces an existing one.
        watch: called after each epoch; may stop the training early.

    Raises:
        SparseadError: an error that the user can fix; no unfinished files are left behind.
        TrainingStopped: `watch` stopped the training; its checkpoint is kept, to resume from.
    """
    folder = request.folder
    request.tracking.check_installed()
    device = resolve_device(request.spec.device)
    replace = request.rerun
    with stage_once(folder, replace=replace, device=device, steps=saved_steps) as staging:
        if not broadcast_value(_is_finished(request, staging)):
            with tracked(request, saved_steps(staging)) as tracker:
                result = run(request, staging, tracker, watch)
            if is_main():
                check_owned(staging)
                write_result(staging, result, OmegaConf.to_yaml(request.spec.to_dict()))
        if is_main():
            check_owned(staging)
            remove_checkpoints(staging)
            remove_unfinished_predictions(staging)
            (staging / STARTED_FILE).unlink(missing_ok=True)
    return RunRecord.read(folder)


def train_overrides(overrides: Sequence[str], *, outputs: str | Path = "outputs") -> RunRecord:
    """Train the run that `sparsead train OVERRIDES` would, unless it is recorded already.

    In Python it is called `sparsead.train`. Runs that it starts from are trained first.

    >>> import sparsead
    >>> tiny = ["backbone=tiny-bert", "task.limit=16", "protocol.epochs=1", "device=cpu"]
    >>> record = sparsead.train([*tiny, "pruner=snip", "sparsity=0.4"])
    >>> list(record.result["scores"])
    ['accuracy', 'f1']
    >>> len(sparsead.predictions(record.folder))
    16

    Args:
        overrides: as `sparsead train` takes them, without flags; not a sweep.
        outputs: folder of the records; an override `outputs=` takes precedence.

    Returns:
        The record; `sparsead.load(record.folder)` returns the trained model.

    Raises:
        ConfigError: an override is wrong.
        SparseadError: another error that the user can fix.
    """
    place = format_override("outputs", outputs)
    words = [place, *overrides]
    request = compose_as(RunRequest.from_config, words)
    return _find_or_train(do_prerequisites(request, words, _find_or_train))


def _find_or_train(request: RunRequest) -> RunRecord:
    record = None if request.rerun else find_record(request.folder)
    return train(request) if record is None else record


def _is_finished(request: RunRequest, staging: Path) -> bool:
    """Tell whether a process was killed between the end of the run and its recording."""
    try:
        return RunRecord.read(staging).result.get("identity") == request.identity
    except RecordError:
        return False


def run(
    request: RunRequest, folder: Path, tracker: Tracker, watch: Watch | None = None
) -> dict[str, Any]:
    """Train and evaluate one run, write its weights to `folder`, and return its result.

    Args:
        request: the run.
        folder: the staging folder; if it contains a checkpoint, the training resumes from it.
        tracker: shows the run while it trains, and its sparsity and final scores.
        watch: as for `train`.

    Returns:
        The content of `result.json`.
    """
    spec = request.spec
    # Both hash local files. They are computed before the training, in case the files change later.
    named = {"identity": request.identity, "setting": request.setting}
    provenance = describe_provenance()
    if is_main():
        note_started(folder, request.identity, spec.to_dict())
    device = resolve_device(spec.device)
    reset_peak_memory(device)
    checkpoint = broadcast_value(open_checkpoint(folder) if is_main() else None)
    resumed_from = checkpoint_epoch(checkpoint)
    clock = Clock(folder, resumed_from)
    requested = restore_precision(folder, checkpoint, spec.precision)
    precision = broadcast_value(resolve_precision(requested, device))
    adapter = build_adapter(spec)
    pruner = PRUNERS.bind(spec.pruner.method, spec.pruner.options)

    with clock.timed("load"), stage("loading backbone and data"):
        inputs = read_inputs(spec)
        task, data, tokenizer = inputs.task, inputs.data, inputs.backbone.tokenizer
        model = inputs.backbone.model(task.head, task.head_options, spec.seeds.init)
        adapted = insert_adapter(spec, adapter, model)
        start = load_start(spec, adapted)
        nn.Module.to(model, device)  # the types of `PreTrainedModel.to` do not allow a name
        collator = task.collator(tokenizer)
        if spec.protocol.torch_compile:
            log.info("batches are padded: protocol.torch_compile=true")
        else:
            collator = unpad(model, collator, precision)
        skip_unlabelled(model)

    def redraw() -> dict[str, Tensor]:
        other = inputs.backbone.model(task.head, task.head_options, spec.seeds.init)
        return redraw_adapter(spec, adapter, other, adapted.prunable)

    with clock.timed("prune"), stage(f"scoring the weights by {spec.pruner.name}"):
        scored_on = scoring_sample(data["train"], spec.seeds.mask) if spec.masked else []
        if checkpoint is None:
            batches = scoring_batches(data["train"].select(scored_on), collator, device)
            masks = prune_adapter(spec, pruner, adapted, batches, redraw)
            start.tell_restored(masks)
            check_owned(folder)
            save_starting_state(folder, masks, precision)
        else:
            masks = restore_masks(folder, adapted)
        trained = adapted if adapted.budget is None else train_chosen(adapted, masks)
    store_frozen(trained, precision)

    with clock.timed("train"), defer_interrupt() as interrupted, stage("starting") as shown:
        trainer = build_trainer(
            spec, model, data, tokenizer, task, collator, folder, precision, trained.head
        )
        trainer.add_callback(clock)  # before Stopping, which may raise at a checkpoint
        trainer.add_callback(Stopping(trainer, interrupted, watch))
        trainer.add_callback(Ending(trainer, spec.protocol.patience))
        trainer.add_callback(ShowTraining(trainer, shown))
        tracker.attach(trainer)
        trainer.add_callback(TellDuration(spec, task, inputs.described, f"{device} in {precision}"))
        _tell_weights(adapted, masks)
        with suppress(HasEndedError), deterministic_algorithms(spec.protocol.deterministic, device):
            trainer.train(resume_from_checkpoint=checkpoint)
    epochs = history(trainer)
    last: Mapping[str, Any] = epochs[-1]
    best: dict[str, float] = {}
    if spec.protocol.patience is not None:
        last, epoch = restore_best(trainer, folder)
        best = {"best_epoch": epoch}
    with clock.timed("report"), stage("scoring the predictions"):
        held_out = spec.protocol.selection > 0
        scores = final_scores(trainer, task, data, folder, last, held_out)
        splits = evaluated_splits(task, data, held_out)
        predictions = store_predictions(task, folder, splits, request.identity) if is_main() else {}
        tracker.log(describe_result(scores["scores"], masks.summary()), trainer.state.global_step)

    weights, fingerprint = folder / WEIGHTS_FILE, inputs.backbone.fingerprint()
    if is_main():
        metadata = weights_metadata(spec, request.identity, fingerprint)
        check_owned(folder)
        save_weights(weights, trained, masks, metadata)
    trainer.accelerator.wait_for_everyone()
    return {
        **named,
        "config": spec.to_dict(),
        **scores,
        "predictions": predictions,
        "higher_is_better": trainer.higher_is_better(next(iter(scores["scores"]))),
        "history": epochs,
        **best,
        "parameters": count_adapter_costs(adapted, masks.removed, weights.stat().st_size),
        "sparsity": {
            "requested": spec.sparsity,
            "scored_on": scored_on if masks.data_read else None,
            **masks.summary(),
        },
        "sources": describe_sources(spec, fingerprint),
        "data": inputs.described,
        "from_data": dict(task.from_data) if isinstance(task, LearnsOptions) else {},
        "seconds": clock.seconds(trainer.state),
        "resumed_from_epoch": resumed_from,
        "environment": describe_environment(device, precision),
        "provenance": provenance,
    }


def _tell_weights(adapted: AdaptedModel, masks: Masks) -> None:
    """Say how many weights train, and how many are removed."""
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


class _Train(ModuleType):
    """A module that can be called as the function of its name is."""

    def __call__(self, overrides: Sequence[str], **options: Any) -> RunRecord:
        """Return `train_overrides` of the arguments."""
        return train_overrides(overrides, **options)


sys.modules[__name__].__class__ = _Train


if __name__ == "__main__":
    run_verb("train", sys.argv[1:])
