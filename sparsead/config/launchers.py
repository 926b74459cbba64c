"""How a sweep's jobs are launched: processes that share GPUs, and Ray's own cluster.

GPUs are counted without torch, which would take long to import.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from multiprocessing import current_process
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from sparsead.errors import ConfigError

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_NVIDIA = Path("/proc/driver/nvidia/gpus")
_JOBS = "jobs_per_gpu="
_LAUNCHER = "hydra/launcher="
_NUMBER = "hydra.launcher.n_jobs="
_JOBLIB = f"{_LAUNCHER}joblib"


def expand_jobs(arguments: Sequence[str], multirun: bool) -> list[str]:
    """Rewrite `jobs_per_gpu=4` to joblib's launcher with four processes for each visible GPU.

    Without a GPU, or with device=cpu, there are four in all.

    Raises:
        ConfigError: the number is not one of processes, this is no sweep, or another launcher is
            asked for.
    """
    given = [argument for argument in arguments if argument.startswith(_JOBS)]
    if not given:
        return [*arguments]
    others = [argument for argument in arguments if argument not in given]
    jobs = given[-1].removeprefix(_JOBS)
    if not (jobs.isdecimal() and int(jobs)):
        raise ConfigError(f"{given[-1]}: must be a whole number, 1 or more")
    if not multirun:
        raise ConfigError(f"{given[-1]}: shares the runs of a sweep out; add -m")
    launchers = {argument for argument in others if argument.startswith(_LAUNCHER)} - {_JOBLIB}
    if launchers:
        raise ConfigError(f"{given[-1]}: is of {_JOBLIB}, not of {launchers.pop()}")
    numbers = [argument for argument in others if argument.startswith(_NUMBER)]
    if numbers:
        raise ConfigError(f"{given[-1]}: sets what {numbers[-1]} sets; give one of the two")
    gpus = [] if "device=cpu" in others else list_visible_gpus()
    return [*others, _JOBLIB, f"{_NUMBER}{int(jobs) * max(len(gpus), 1)}"]


class TakeGpu(Callback):
    """Hydra's callback that spreads a launcher's worker processes over the visible GPUs, in turn.

    A worker keeps the GPU of its first job. A scheduler lets each job see none but its own.
    """

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Take the GPU of this job's number, in a worker process of a sweep."""
        sweeping = config.hydra.mode is RunMode.MULTIRUN
        if sweeping and current_process().name != "MainProcess":
            take_gpu(config.hydra.job.num)


def take_gpu(job: int) -> None:
    """Let this process see one of several visible GPUs, which one by the job's number."""
    gpus = list_visible_gpus()
    if len(gpus) > 1:
        os.environ[_VISIBLE] = gpus[job % len(gpus)]


def set_ray_token(overrides: Sequence[str]) -> None:
    """Give the cluster that Ray starts for a sweep a token of this process alone.

    Ray would write one into the home directory. What the user has set up takes precedence.
    """
    chosen = "hydra/launcher=ray" in overrides
    own = any(name.startswith(("RAY_AUTH", "RAY_ADDRESS")) for name in os.environ)
    elsewhere = any("ray.init.address" in override for override in overrides)
    if chosen and not (own or elsewhere or (Path.home() / ".ray" / "auth_token").exists()):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def list_visible_gpus() -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES lists, else the numbers of all of NVIDIA's devices here."""
    if _VISIBLE in os.environ:
        return [gpu for gpu in os.environ[_VISIBLE].split(",") if gpu]
    return [str(number) for number, _ in enumerate(_NVIDIA.glob("*"))]
