"""One run, from top to bottom: set up, load, prune, fit, score, save, record.

`docs/architecture.md` says what happens before, and `assembly/phases.py` has the phases.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf

from sparsead.adapters.accounting import count_adapter_costs
from sparsead.assembly.checks import check_trainable
from sparsead.assembly.phases import fit, load, prune, save, score, set_up
from sparsead.cli import run as run_verb
from sparsead.config.choices import own_folder_within
from sparsead.config.compose import compose_as
from sparsead.config.overrides import check_texts
from sparsead.config.quoting import format_override
from sparsead.errors import AlreadyRecordedError, ConfigError, RecordError
from sparsead.errors.memory import explain_lack_of_memory
from sparsead.runs.interrupt import Watch
from sparsead.runs.provenance import describe_provenance
from sparsead.runs.record import RunRecord, write_result
from sparsead.runs.request import RunRequest, do_prerequisites, find_recorded
from sparsead.runs.sources import describe_sources
from sparsead.runs.staging import check_owned
from sparsead.runs.unfinished import STARTED_FILE, note_started
from sparsead.training.device import (
    describe_environment,
    deterministic_algorithms,
    resolve_device,
)
from sparsead.training.launcher import check_launcher
from sparsead.training.prediction import remove_unfinished_predictions
from sparsead.training.processes import broadcast_value, is_main, stage_once
from sparsead.training.resume import remove_checkpoints, saved_steps
from sparsead.training.threads import threads_within
from sparsead.training.tracking import Tracker, describe_result, tracked

_OF_THE_COMMAND = re.compile(r"-|[+~]*(?:hydra\b(?!\.searchpath\b)|jobs_per_gpu\b)")
"""The words that say how the command starts runs: flags, Hydra's own keys and the launchers."""


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
    check_launcher(request.spec, device)
    replace = request.rerun
    with (
        explain_lack_of_memory(),
        stage_once(folder, replace=replace, device=device, steps=saved_steps) as staging,
    ):
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


def train_overrides(
    overrides: Sequence[str],
    *,
    outputs: str | Path = "outputs",
    config_dir: str | Path | None = None,
) -> RunRecord:
    """Train the run that `sparsead train OVERRIDES` would, unless it is recorded already.

    In Python it is called `sparsead.train`. Runs that it starts from are trained first. It computes
    with as many threads as `threads` says, and leaves torch's number as it was.

    >>> import sparsead
    >>> tiny = ["backbone=tiny-bert", "task.limit=16", "protocol.epochs=2", "device=cpu"]
    >>> record = sparsead.train([*tiny, "pruner=snip", "sparsity=0.4"])
    >>> list(record.result["scores"])
    ['accuracy', 'f1']
    >>> len(sparsead.predictions(record.folder))
    16

    Args:
        overrides: as `sparsead train` takes them, without flags and launchers; not a sweep.
        outputs: folder of the records; an override `outputs=` takes precedence.
        config_dir: folder with choices of your own, such as pruner/mine.yaml.

    Returns:
        The record; `sparsead.load(record.folder)` returns the trained model.

    Raises:
        ConfigError: an override is wrong.
        SparseadError: another error that the user can fix.
    """
    _check_one_run(overrides)
    place = format_override("outputs", outputs)
    words = [place, *overrides]
    with own_folder_within(config_dir):
        request = compose_as(RunRequest.from_config, words)
        return _find_or_train(do_prerequisites(request, words, _find_or_train))


def _check_one_run(overrides: Sequence[str]) -> None:
    check_texts("overrides", overrides)
    for override in overrides:
        if _OF_THE_COMMAND.match(override):
            raise ConfigError(
                f"{override}: is for the command `sparsead train` alone; sparsead.train trains one "
                "run, in the process that calls it: leave it out"
            )


def _find_or_train(request: RunRequest) -> RunRecord:
    record = find_recorded(request)
    if record is not None:
        return record
    check_trainable(request.spec)
    try:
        with threads_within(request.threads):
            return train(request)
    except AlreadyRecordedError:  # by another process, since we looked
        return RunRecord.read(request.folder)


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
    setup = set_up(spec, folder)
    loaded = load(spec, setup)
    with deterministic_algorithms(spec.protocol.deterministic, setup.device):
        pruned = prune(spec, setup, loaded)
        trainer = fit(spec, setup, loaded, pruned, tracker, watch)
        reported = score(request, setup, loaded, trainer)
    tracker.log(
        describe_result(reported["scores"], pruned.masks.summary()), trainer.state.global_step
    )
    weights = save(request, setup, loaded, pruned)
    trainer.accelerator.wait_for_everyone()
    stored = weights.stat().st_size
    return {
        **named,
        "config": spec.to_dict(),
        **reported,
        "parameters": count_adapter_costs(loaded.adapted, pruned.masks.removed, stored),
        "sparsity": {
            "requested": spec.sparsity,
            "scored_on": pruned.scored_on if pruned.masks.data_read else None,
            **pruned.masks.summary(),
        },
        "sources": describe_sources(spec, loaded.inputs.backbone.fingerprint()),
        "data": loaded.inputs.described,
        "from_data": loaded.learned_options,
        "seconds": setup.clock.seconds(),
        "resumed_from_epoch": setup.resumed_from,
        "environment": describe_environment(setup.device, setup.precision),
        "provenance": provenance,
    }


class _Train(ModuleType):
    """A module that can be called as the function of its name is."""

    def __call__(self, overrides: Sequence[str], **options: Any) -> RunRecord:
        """Return `train_overrides` of the arguments."""
        return train_overrides(overrides, **options)


sys.modules[__name__].__class__ = _Train


if __name__ == "__main__":
    run_verb("train", sys.argv[1:])
