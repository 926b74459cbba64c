"""`sparsead train`: train one run, or with -m a sweep of runs."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import current_process
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sparsead.config.arguments import Parser
from sparsead.config.compose import check_no_grid, describe, swept_keys
from sparsead.config.gpus import expand_jobs, take_a_gpu
from sparsead.config.overrides import expand
from sparsead.config.run import RunSpec
from sparsead.errors import (
    AlreadyRecordedError,
    ClaimedError,
    SparseadError,
    StorageError,
    fail,
)
from sparsead.runs.failure import record_failure
from sparsead.runs.interrupt import Watch, stopping_on_interrupt
from sparsead.runs.record import RunRecord, find_record, run_folder
from sparsead.runs.sources import first_stage, found, with_sources
from sparsead.search import SearchSpec, search

log = logging.getLogger(__name__)

_FULL_ERROR = "HYDRA_FULL_ERROR"


def job(config: DictConfig) -> float:
    """Do one Hydra job; return what a sweeper optimises: the main score to choose by.

    What is recorded already is not trained again, and torch is then never imported.
    """
    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    if sweeping and current_process().name != "MainProcess":
        take_a_gpu(HydraConfig.get().job.num)
    if os.environ.get("RANK", "0") != "0":
        logging.disable(logging.INFO)  # torchrun: the first process says it for all
    do = _swept if sweeping else _recorded_or_trained
    try:
        overrides = list(HydraConfig.get().overrides.task)
        spec = with_sources(RunSpec.from_config(config), overrides, do)
        searched = "search" in config
        if not (sweeping or searched):
            _tell_point_from_grid()
        space = SearchSpec.from_config(config) if searched else None
        record = do(spec) if space is None else search(spec, space, train_run)
    except (SparseadError, OmegaConfBaseException) as error:
        if sweeping:
            raise  # Hydra goes on with the other jobs, and reports this one at the end
        fail(describe(error))  # here: Hydra would put a line of its own before it
    _report(record)
    return record.objective


def main() -> None:
    """Entry point of `sparsead train`, `sparsead-train` and `python -m sparsead.train`.

    HYDRA_FULL_ERROR=1 keeps the traceback of what would be one line.
    """
    keep_traceback = os.environ.get(_FULL_ERROR) == "1"
    try:
        with _errors_are_ours():
            _launch()
    except (SparseadError, HydraException, OmegaConfBaseException) as error:
        if keep_traceback:
            raise
        fail(describe(error))


@contextmanager
def _errors_are_ours() -> Iterator[None]:
    """Have Hydra raise its errors: its own handler would print a traceback, or exit with 1."""
    before = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"
    try:
        yield
    finally:
        del os.environ[_FULL_ERROR]
        os.environ.update({} if before is None else {_FULL_ERROR: before})


def _launch() -> None:
    sys.argv[1:] = expand(sys.argv[1:])
    hydras = get_args_parser()
    arguments = Parser("sparsead train", parents=[hydras], add_help=False).parse()
    flags = [word for word in sys.argv[1:] if word not in arguments.overrides]
    overrides = expand_jobs(arguments.overrides, arguments.multirun)
    sys.argv[1:] = [*flags, *overrides]  # Hydra wants the overrides in one place
    _give_ray_a_token(overrides)
    if arguments.multirun and arguments.cfg:
        fail("--cfg prints the configuration of one run: leave out -m")
    if arguments.multirun and not (arguments.config_dir or arguments.config_path):
        _check_sweep(overrides)
    with stopping_on_interrupt("the same command goes on from here"):
        hydra.main(version_base="1.3", config_path="pkg://sparsead.conf", config_name="train")(
            job
        )()


def _tell_point_from_grid() -> None:
    """Say that protocol=paper alone is not the grid that the paper chose its scores from."""
    if HydraConfig.get().runtime.choices.get("protocol") == "paper":
        log.info("protocol=paper is one point of the paper's grid; search=grid runs all 80")


def _swept(spec: RunSpec) -> RunRecord:
    """Do one run of a sweep; write down why it failed, where it does."""
    try:
        return _recorded_or_trained(spec)
    except (StorageError, ClaimedError):
        raise  # there is nowhere to write it down, or another process is at it
    except Exception as error:
        record_failure(spec, run_folder(spec), error)
        raise


def _give_ray_a_token(arguments: Sequence[str]) -> None:
    """Give the cluster that Ray starts for a sweep a token of this process alone.

    Ray would write one into the home directory. What the user has set up goes before.
    """
    chosen = "hydra/launcher=ray" in arguments
    own = any(name.startswith(("RAY_AUTH", "RAY_ADDRESS")) for name in os.environ)
    elsewhere = any("ray.init.address" in argument for argument in arguments)
    if chosen and not (own or elsewhere or (Path.home() / ".ray" / "auth_token").exists()):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _check_sweep(arguments: list[str]) -> None:
    """Read every job of a sweep before the first one runs, so that none is wrong at its end.

    Sweeps over continuous ranges, which only an optimiser expands, are left to it.
    """
    with hydra.initialize_config_module("sparsead.conf", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        overrides = OverridesParser.create(loader).parse_overrides(arguments)
        if any(o.is_sweep_override() and not o.is_discrete_sweep() for o in overrides):
            return
        whole = _own_sweep(overrides)
        for values in itertools.product(*(_expanded(override) for override in overrides)):
            config = hydra.compose("train", list(values), return_hydra_config=True)
            check_no_grid(config, [*values, *whole])
            spec = RunSpec.from_config(config)
            if "search" in config:
                SearchSpec.from_config(config)
            first_stage(found(spec), list(values))


def _own_sweep(overrides: list[Override]) -> list[str]:
    """Return the keys that Hydra sweeps for the choices that are not swept themselves."""
    fixed = [o for o in overrides if not o.is_sweep_override()]
    choices = [o for o in fixed if "." not in o.get_key_element() or o.is_hydra_override()]
    lines = [str(choice.input_line) for choice in choices]
    return swept_keys(hydra.compose("train", lines, return_hydra_config=True))


def _expanded(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _recorded_or_trained(spec: RunSpec) -> RunRecord:
    record = None if spec.rerun else find_record(spec)
    if record is not None:
        log.info("recorded already (rerun=true trains it again)")
        return record
    try:
        return train_run(spec)
    except AlreadyRecordedError:
        return RunRecord.read(run_folder(spec))


def train_run(spec: RunSpec, watch: Watch | None = None) -> RunRecord:
    """Train a run; torch is imported now, once it is known that there is something to train."""
    from sparsead.train import train

    return train(spec, watch)


def _said(name: str, score: float | None) -> str:
    return f"{name} not defined" if score is None else f"{name} {score:.4f}"


def _report(record: RunRecord) -> None:
    result = record.result
    sparsity = result["sparsity"]
    log.info("%s", ", ".join(_said(*score) for score in result["scores"].items()))
    log.info(
        "removed %d of %d prunable weights (%.2f %%)",
        sparsity["removed"],
        sparsity["total"],
        100 * sparsity["realised"],
    )
    log.info("%s", record.folder)
