"""`sparsead train`: train one run, or with -m a sweep of runs.

$ sparsead train adapter=houlsby pruner=snip sparsity=0.4
$ sparsead train -m pruner=random,snip seed=1,2,3
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sparsead.assembly.checks import check_buildable, check_trainable
from sparsead.config.arguments import name_outputs
from sparsead.config.compose import (
    CONFIGURATION_ERRORS,
    check_no_grid,
    compose_config,
    describe_error,
)
from sparsead.config.flags import asks_about_run, read_flags
from sparsead.config.help import describe_train
from sparsead.config.launchers import (
    check_slurm,
    expand_jobs,
    is_worker,
    notice_lost_workers,
    set_ray_token,
    share_cores,
)
from sparsead.config.overrides import expand
from sparsead.config.search import SearchSpec, refuse_point
from sparsead.config.sweeps import compose_jobs, is_basic, is_sweep, type_swept
from sparsead.config.threads import bound_spinning
from sparsead.config.tracebacks import let_hydra_raise, wants_traceback
from sparsead.config.tracking import group_tracked
from sparsead.errors import (
    AlreadyRecordedError,
    ConfigError,
    RecordError,
    RunFailedError,
    SparseadError,
    StorageError,
    describe_file_error,
    fail,
    fail_if_output_is_lost,
    refuse_windows,
)
from sparsead.errors.display import one_line, protect_output
from sparsead.errors.own_code import describe_own_error
from sparsead.hub.timeouts import check_timeouts
from sparsead.progress import (
    JSON,
    QUIET,
    choose_output,
    name_sweep,
    output_as,
    output_mode,
    print_line,
    stage,
)
from sparsead.report.outcome import (
    describe_outcome,
    describe_setting,
    outcome_values,
)
from sparsead.report.sweep import job_label, job_number, print_finished, sum_up
from sparsead.runs.interrupt import Watch, stop_on_interrupt
from sparsead.runs.prerequisites import find_prerequisites, resolve_sources
from sparsead.runs.record import RunRecord
from sparsead.runs.request import RunRequest, do_or_await, do_prerequisites, find_recorded
from sparsead.runs.secrets import hide_secrets
from sparsead.runs.tally import STARTED, note_run
from sparsead.search import check_search, search
from sparsead.tables.estimate import note_throughput

log = logging.getLogger(__name__)


def main() -> None:
    """Entry point of `sparsead train`, `sparsead-train` and `python -m sparsead.train`.

    HYDRA_FULL_ERROR=1 prints a traceback instead of the one-line message.
    """
    protect_output()
    bound_spinning()
    try:
        refuse_windows()
        check_timeouts()
        with let_hydra_raise():
            _launch()
    except (SparseadError, *CONFIGURATION_ERRORS) as error:
        if wants_traceback():
            raise
        fail(describe_error(error))
    fail_if_output_is_lost()


def _launch() -> None:
    arguments, flags = read_flags(name_outputs(choose_output(sys.argv[1:])))
    if arguments.help:
        sys.stdout.write(describe_train(arguments.overrides))
        return
    overrides = expand_jobs(expand(arguments.overrides), arguments.multirun)
    if asks_about_run(arguments):
        config = compose_config(overrides, RunMode.MULTIRUN)
        if not (arguments.cfg or arguments.info):
            overrides = _prepare(overrides, config, arguments.multirun)
    # Hydra's parser needs the overrides to be consecutive, and a flag would take the next one.
    sys.argv[1:] = [*overrides, *flags]
    with stop_on_interrupt("run the same command again to resume"):
        start = hydra.main(
            version_base="1.3", config_path="pkg://sparsead.conf", config_name="train"
        )(job)
        try:
            with notice_lost_workers():
                start()
        except RunFailedError:
            if wants_traceback():
                raise
    if STARTED.folder is not None:
        sum_up(STARTED.entries())


def _prepare(overrides: list[str], config: DictConfig, multirun: bool) -> list[str]:
    """Check what is to be run, and return the overrides with all that is swept.

    Args:
        overrides: overrides as Hydra takes them.
        config: what is composed from them.
        multirun: whether -m was given; a file can make the command a sweep too.
    """
    check_slurm(config)
    set_ray_token(config)
    if not (multirun or is_sweep(config)):
        check_no_grid(config, overrides)
        return overrides
    overrides = type_swept(group_tracked(overrides), config)
    share_cores(config, _check_jobs(overrides))
    return overrides


def _check_jobs(overrides: list[str]) -> int:
    """Check every job of a sweep before the first one runs, so that none fails hours later.

    Returns:
        The number of jobs.
    """
    with stage("checking the runs of the sweep") as shown:
        for config, chosen in compose_jobs(overrides):
            request, space = _asked_for(config, chosen)
            check_buildable(request.spec)
            if space is not None:
                check_search(request, space)
            find_prerequisites(resolve_sources(request.spec, request.outputs), chosen)
            shown.advance()
    return shown.done


def _asked_for(
    config: DictConfig, overrides: Sequence[str]
) -> tuple[RunRequest, SearchSpec | None]:
    """Return the run that a configuration requests, and its search for the best point, if any."""
    space = SearchSpec.from_config(config) if "search" in config else None
    if space is not None:
        refuse_point(overrides)
    request = RunRequest.from_config(config)
    request.tracking.check_installed()
    return request, space


def job(config: DictConfig) -> float:
    """Execute one Hydra job; return the score that an optimising sweeper such as Optuna uses.

    A recorded run is not trained again, and torch is then not imported.
    """
    protect_output()  # a launcher may start this in a process of its own
    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    if os.environ.get("RANK", "0") != "0":
        logging.disable(logging.INFO)  # only the first of torchrun's processes prints anything
        sys.stdout = io.StringIO()
    if sweeping and STARTED.folder is not None:
        name_sweep(STARTED.describe(job_number()))
    try:
        record = _train_one(config, sweeping)
    except RunFailedError:
        if not is_basic(HydraConfig.get().sweeper):
            raise  # the optimiser has to know
        return math.nan  # Hydra would print each failure once more
    except (SparseadError, OmegaConfBaseException) as error:
        if sweeping or wants_traceback():
            raise  # Hydra continues with the other jobs; `sum_up` counts them
        fail(describe_error(error))  # not raised: Hydra would print its own line first
    except Exception as error:
        own = describe_own_error(error) or describe_file_error(error)
        if sweeping or own is None or wants_traceback():
            raise
        fail(own)
    if sweeping:
        print_finished(record)
    else:
        _print_outcome(record)
    return record.objective


def _train_one(config: DictConfig, sweeping: bool) -> RunRecord:
    if HydraConfig.get().job.chdir:
        raise ConfigError(
            "hydra.job.chdir=true: paths are looked for in the folder of the command; leave it out"
        )
    overrides = list(HydraConfig.get().overrides.task)
    request, space = _asked_for(config, overrides)
    if not sweeping:
        print_line(describe_setting(request.spec))
    request = do_prerequisites(request, overrides, _do_in_sweep if sweeping else find_or_train)
    if space is not None:
        check_buildable(request.spec)  # otherwise every point would fail
        do = partial(search, space=space, train=train_run)
        return _note_in_sweep(request, do) if sweeping else do(request)
    if sweeping:
        return _do_in_sweep(request)
    _tell_point_from_grid()
    return find_or_train(request)


def _do_in_sweep(request: RunRequest) -> RunRecord:
    """Find or train one run of a sweep; record a failure with its traceback.

    Another job may work on the same run, as where a sweep varies what makes no other run of it.
    """

    def do(request: RunRequest) -> RunRecord:
        try:
            return do_or_await(request, find_or_train)
        except StorageError:
            raise
        except Exception as error:
            request.record_failure(error)
            raise

    return _note_in_sweep(request, do)


def _note_in_sweep(request: RunRequest, do: Callable[[RunRequest], RunRecord]) -> RunRecord:
    """Do one job of a sweep, and note the run that it has recorded, or why it failed.

    Of several processes that share a terminal, each prints only how its run has ended.
    """
    folder = Path(str(HydraConfig.get().sweep.dir))
    try:
        with output_as(quiet=is_worker(), json=False):
            record = do(request)
    except StorageError:
        raise  # no failure of this run: nothing can be written
    except Exception as error:
        note_run(folder, request.folder, error)
        reason = hide_secrets(describe_own_error(error) or f"{type(error).__name__}: {error}")
        print_line(f"{job_label()}failed: {request.folder.name}: {one_line(reason)}")
        raise RunFailedError(f"{request.folder.name}: {one_line(reason)}") from error
    note_run(folder, record.folder, None)
    return record


def find_or_train(request: RunRequest) -> RunRecord:
    """Return the record of a run; train the run first unless it is recorded already."""
    try:
        record = find_recorded(request)
    except StorageError:
        raise
    except RecordError as error:
        raise RecordError(f"{error}; rerun=true trains it again") from error
    if record is not None:
        log.info("recorded already (rerun=true trains it again)")
        return record
    try:
        return train_run(request)
    except AlreadyRecordedError:
        return RunRecord.read(request.folder)


def train_run(request: RunRequest, watch: Watch | None = None) -> RunRecord:
    """Set up this process for training, train a run and return its record.

    Torch is imported here, only when a run really has to be trained, because it takes seconds; what
    the hub does not give is refused before.
    """
    check_trainable(request.spec)
    with stage("loading torch and transformers"):
        from sparsead.train import train
        from sparsead.training.allocator import freeze_imported_objects, keep_freed_memory
        from sparsead.training.device import resolve_device
        from sparsead.training.processes import is_main
        from sparsead.training.quiet import quiet_libraries
        from sparsead.training.threads import use_threads

    quiet_libraries()
    use_threads(request.threads)
    freeze_imported_objects()
    if resolve_device(request.spec.device) == "cpu":
        keep_freed_memory()
    record = train(request, watch)
    if is_main():
        note_throughput(request, record.result)
    return record


def _tell_point_from_grid() -> None:
    """Tell the user that protocol=paper is a single point of the paper's hyperparameter grid."""
    if HydraConfig.get().runtime.choices.get("protocol") == "paper":
        log.info("protocol=paper is one point of the paper's grid; search=grid runs all 80")


def _print_outcome(record: RunRecord) -> None:
    """Print what a finished run is shown as, or what `--json` or `--quiet` ask for."""
    mode = output_mode()
    if mode == JSON:
        sys.stdout.write(json.dumps(outcome_values(record), indent=2) + "\n")
    elif mode == QUIET:
        sys.stdout.write(f"{record.folder}\n")
    else:
        for line in describe_outcome(record):
            print_line(line)
