"""`sparsead train`: train one run, or with -m a sweep of runs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sparsead.config.arguments import Parser, name_outputs
from sparsead.config.compose import describe_error
from sparsead.config.help import describe_train
from sparsead.config.launchers import expand_jobs, set_ray_token
from sparsead.config.overrides import expand
from sparsead.config.search import SearchSpec
from sparsead.config.sweeps import compose_jobs
from sparsead.errors import (
    AlreadyRecordedError,
    ClaimedError,
    ConfigError,
    RecordError,
    SparseadError,
    StorageError,
    fail,
)
from sparsead.errors.display import survive_closed_pipes
from sparsead.runs.interrupt import Watch, stop_on_interrupt
from sparsead.runs.prerequisites import find_prerequisites, resolve_sources
from sparsead.runs.record import RunRecord, find_record
from sparsead.runs.request import RunRequest, do_prerequisites
from sparsead.search import search

log = logging.getLogger(__name__)

_FULL_ERROR = "HYDRA_FULL_ERROR"


def main() -> None:
    """Entry point of `sparsead train`, `sparsead-train` and `python -m sparsead.train`.

    HYDRA_FULL_ERROR=1 prints a traceback instead of the one-line message.
    """
    survive_closed_pipes()
    keep_traceback = os.environ.get(_FULL_ERROR) == "1"
    try:
        with _let_hydra_raise():
            _launch()
    except (SparseadError, HydraException, OmegaConfBaseException) as error:
        if keep_traceback:
            raise
        fail(describe_error(error))


@contextmanager
def _let_hydra_raise() -> Iterator[None]:
    """Make Hydra raise its errors; by default it prints a traceback or exits with status 1."""
    before = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"
    try:
        yield
    finally:
        del os.environ[_FULL_ERROR]
        os.environ.update({} if before is None else {_FULL_ERROR: before})


def _launch() -> None:
    parser = Parser("sparsead train", parents=[get_args_parser()], add_help=False)
    words = name_outputs(sys.argv[1:])
    arguments = parser.parse(words)
    if arguments.help:
        sys.stdout.write(describe_train(arguments.overrides))
        return
    flags = [word for word in words if word not in arguments.overrides]
    overrides = expand_jobs(expand(arguments.overrides), arguments.multirun)
    sys.argv[1:] = [*flags, *overrides]  # Hydra's parser needs the overrides to be consecutive
    set_ray_token(overrides)
    if arguments.multirun and arguments.cfg:
        fail("--cfg prints the configuration of one run: leave out -m")
    if arguments.multirun and not arguments.config_path:
        _check_jobs(overrides)
    with stop_on_interrupt("run the same command again to resume"):
        hydra.main(version_base="1.3", config_path="pkg://sparsead.conf", config_name="train")(
            job
        )()


def _check_jobs(overrides: list[str]) -> None:
    """Check every job of a sweep before the first one runs, so that none fails hours later."""
    for config, chosen in compose_jobs(overrides):
        request, _ = _asked_for(config)
        find_prerequisites(resolve_sources(request.spec, request.outputs), chosen)


def _asked_for(config: DictConfig) -> tuple[RunRequest, SearchSpec | None]:
    """Return the run that a configuration requests, and its search for the best point, if any."""
    space = SearchSpec.from_config(config) if "search" in config else None
    return RunRequest.from_config(config), space


def job(config: DictConfig) -> float:
    """Execute one Hydra job; return the score that an optimising sweeper such as Optuna uses.

    A recorded run is not trained again, and torch is then not imported.
    """
    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    if os.environ.get("RANK", "0") != "0":
        logging.disable(logging.INFO)  # only the first of torchrun's processes prints messages
    do = _do_in_sweep if sweeping else find_or_train
    try:
        if HydraConfig.get().job.chdir:
            raise ConfigError(
                "hydra.job.chdir=true: paths are looked for in the folder of the command; leave it "
                "out"
            )
        request, space = _asked_for(config)
        request = do_prerequisites(request, list(HydraConfig.get().overrides.task), do)
        if not sweeping and space is None:
            _tell_point_from_grid()
        record = do(request) if space is None else search(request, space, train_run)
    except (SparseadError, OmegaConfBaseException) as error:
        if sweeping:
            raise  # Hydra continues with the other jobs, and prints this error at the end
        fail(describe_error(error))  # not raised: Hydra would print its own line first
    _log_record(record)
    return record.objective


def _do_in_sweep(request: RunRequest) -> RunRecord:
    """Find or train one run of a sweep, and record a failure with its traceback."""
    try:
        return find_or_train(request)
    except (StorageError, ClaimedError):
        raise  # no failure of this run: nothing can be written, or another process works on it
    except Exception as error:
        request.record_failure(error)
        raise


def find_or_train(request: RunRequest) -> RunRecord:
    """Return the record of a run; train the run first unless it is recorded already."""
    try:
        record = None if request.rerun else find_record(request.folder)
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

    Torch is imported here, only when a run really has to be trained, because it takes seconds.
    """
    from sparsead.train import train
    from sparsead.training.allocator import freeze_imported_objects, keep_freed_memory
    from sparsead.training.device import resolve_device
    from sparsead.training.quiet import quiet_libraries

    quiet_libraries()
    freeze_imported_objects()
    if resolve_device(request.spec.device) == "cpu":
        keep_freed_memory()
    return train(request, watch)


def _tell_point_from_grid() -> None:
    """Tell the user that protocol=paper is a single point of the paper's hyperparameter grid."""
    if HydraConfig.get().runtime.choices.get("protocol") == "paper":
        log.info("protocol=paper is one point of the paper's grid; search=grid runs all 80")


def _log_record(record: RunRecord) -> None:
    result = record.result
    sparsity = result["sparsity"]
    log.info("%s", ", ".join(_score(*score) for score in result["scores"].items()))
    log.info(
        "removed %d of %d prunable weights (%.2f %%)",
        sparsity["removed"],
        sparsity["total"],
        100 * sparsity["realised"],
    )
    log.info("%s", record.folder)


def _score(name: str, score: float | None) -> str:
    return f"{name} not defined" if score is None else f"{name} {score:.4f}"
