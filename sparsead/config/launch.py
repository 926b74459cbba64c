"""Runs that are given one by one, through one of Hydra's launchers.

A sweep of `sparsead train -m` is all combinations of some values. The runs of a table are not: each
has overrides of its own. They are handed to the launcher in the way that Hydra's sweepers do it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from sparsead.config.compose import compose_config, describe_error, initialised
from sparsead.config.launchers import (
    check_slurm,
    expand_jobs,
    notice_lost_workers,
    set_ray_token,
    share_cores,
)
from sparsead.config.overrides import expand
from sparsead.config.quoting import format_override
from sparsead.errors import ConfigError

_CHOICE = "hydra/launcher="
_KEYS = "hydra.launcher."


def take_launcher(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the overrides of a table into those that choose a launcher, and the others.

    `jobs_per_gpu=4` chooses one too.

    Raises:
        ConfigError: a launcher's key is set, but none is chosen.
    """
    expanded = expand_jobs(overrides, multirun=True)
    chosen = [word for word in expanded if word.lstrip("+").startswith((_CHOICE, _KEYS))]
    if chosen and not any(word.startswith(_CHOICE) for word in chosen):
        raise ConfigError(f"{chosen[0]}: needs a launcher, such as {_CHOICE}joblib")
    return chosen, [word for word in expanded if word not in chosen]


def check_launcher(launcher: Sequence[str]) -> None:
    """Refuse a launcher that cannot be used here, before it is known what it is to run.

    Args:
        launcher: the overrides that choose the launcher; there may be none.

    Raises:
        ConfigError: there is no such launcher, it is not installed, it lacks a key, or its cluster
            is not there.
    """
    if launcher:
        check_slurm(_compose(launcher))


def launch_jobs(
    jobs: Sequence[Sequence[str]],
    task: Callable[[DictConfig], object],
    launcher: Sequence[str],
    outputs: Path,
) -> list[str]:
    """Run jobs through a launcher, and return when all have ended.

    Args:
        jobs: the overrides of each job, as `sparsead train` takes them.
        task: what a job does with its configuration; a function that a worker can import.
        launcher: the overrides that choose the launcher.
        outputs: folder of the runs; the launcher writes into `multirun` below it.

    Returns:
        The errors of the jobs that raised one, each in one line.

    Raises:
        ConfigError: there is no such launcher, it is not installed, or it lacks a key.
        SparseadError: a worker process was killed.
    """
    with initialised():
        config = _compose([*launcher, format_override("outputs", outputs)])
        set_ray_token(config)
        share_cores(config, len(jobs))
        callbacks = Callbacks(config)
        loader = GlobalHydra.instance().config_loader()
        context = HydraContext(config_loader=loader, callbacks=callbacks)
        callbacks.on_multirun_start(config=config, config_name="train", runs=len(jobs))
        chosen = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=task, config=config
        )
        with notice_lost_workers():
            returned = chosen.launch([expand(job) for job in jobs], initial_job_idx=0)
        callbacks.on_multirun_end(config=config, config_name="train")
    return [describe_error(job._return_value) for job in returned if job.status is JobStatus.FAILED]


def _compose(words: Sequence[str]) -> DictConfig:
    """Compose the configuration of a sweep; a wrong override raises a ConfigError of one line."""
    return compose_config(["hydra.mode=MULTIRUN", *words], RunMode.MULTIRUN)
