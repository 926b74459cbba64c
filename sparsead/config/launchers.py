"""Support for Hydra's launchers: joblib processes that share GPUs, and Ray's local cluster.

GPUs are counted without torch, because importing it takes seconds.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from multiprocessing import current_process
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from sparsead.config.quoting import overridden_key, unquote_values
from sparsead.config.threads import JOBS, usable_cores
from sparsead.errors import ConfigError, DeviceError, SparseadError

_VISIBLE = "CUDA_VISIBLE_DEVICES"
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
"""The folder in which NVIDIA's driver lists one entry for each GPU of the machine."""
GPU_DRIVERS = (
    NVIDIA_GPUS,
    Path("/dev/nvidiactl"),
    Path("/dev/dxg"),  # Windows' subsystem for Linux
    Path("/dev/kfd"),  # AMD's, which PyTorch calls cuda too
)
_JOBS = "jobs_per_gpu="
_LAUNCHER = "hydra/launcher="
_NUMBER = "hydra.launcher.n_jobs="
_JOBLIB = f"{_LAUNCHER}joblib"
_SLURM = "submitit_slurm"
_MOST_JOBS = 1024
"""Processes that a user may ask for; more are never meant, and starting them takes minutes."""


def expand_jobs(arguments: Sequence[str], multirun: bool) -> list[str]:
    """Rewrite `jobs_per_gpu=4` to the joblib launcher with four processes for each visible GPU.

    Without a GPU, or with device=cpu, there are four processes in total.

    Raises:
        ConfigError: the number is not one of processes, this is not a sweep, or the overrides
            choose another launcher or number of processes.
    """
    for argument in arguments:
        _check_number(argument)
    given = [argument for argument in arguments if argument.startswith(_JOBS)]
    if not given:
        return [*arguments]
    others = [argument for argument in arguments if argument not in given]
    jobs = given[-1].removeprefix(_JOBS)
    if not multirun:
        raise ConfigError(f"{given[-1]}: distributes the runs of a sweep; add -m")
    launchers = [argument for argument in others if argument.startswith(_LAUNCHER)]
    other = [each for each in launchers if unquote_values(each) != _JOBLIB]
    if other:
        raise ConfigError(f"{given[-1]}: works only with {_JOBLIB}, not with {other[0]}")
    numbers = [argument for argument in others if f"{overridden_key(argument)}=" == _NUMBER]
    if numbers:
        raise ConfigError(f"{given[-1]}: sets the same as {numbers[-1]}; give one of the two")
    devices = [argument for argument in others if overridden_key(argument) == "device"]
    on_cpu = unquote_values("".join(devices[-1:]).partition("=")[2]) == "cpu"
    gpus = [] if on_cpu else list_visible_gpus()
    others = [argument for argument in others if argument not in launchers]
    return [*others, _JOBLIB, f"{_NUMBER}{int(jobs) * max(len(gpus), 1)}"]


def _check_number(argument: str) -> None:
    """Refuse a number of processes that joblib cannot start; joblib itself prints a traceback."""
    key, _, number = argument.partition("=")
    is_own = f"{key}=" == _JOBS
    if not is_own and f"{key.lstrip('+')}=" != _NUMBER:
        return
    digits = number if is_own else number.removeprefix("-")  # -1 is joblib's word for all cores
    if not (digits.isdecimal() and len(digits) < 9 and 1 <= int(digits) <= _MOST_JOBS):
        cores = "" if is_own else ", or -1 for as many as there are cores"
        raise ConfigError(f"{argument}: must be a whole number from 1 to {_MOST_JOBS}{cores}")


def start_no_idle_processes(launcher: DictConfig, runs: int | None) -> None:
    """Lower joblib's number of processes to that of the runs: it starts all of them at once.

    Args:
        launcher: the configuration of Hydra's launcher, which is changed.
        runs: number of runs; None if it is not known.
    """
    if runs and (launcher.get("n_jobs") or 0) > runs:
        with flag_override(launcher, "readonly", False):
            launcher.n_jobs = runs


class TakeGpu(Callback):
    """A Hydra callback that assigns a launcher's worker processes to the visible GPUs in turn.

    A worker process keeps the GPU of its first job. Under a scheduler such as SLURM each job
    already sees only its own GPU, and nothing changes.
    """

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Choose a GPU by the job's number, in a worker process of a sweep."""
        sweeping = config.hydra.mode is RunMode.MULTIRUN
        if sweeping and is_worker():
            take_gpu(config.hydra.job.num)


def is_worker() -> bool:
    """Tell whether this is a process of joblib's, which shares its command's terminal."""
    return current_process().name != "MainProcess"


def take_gpu(job: int) -> None:
    """Restrict this process to one of the visible GPUs, chosen by the job's number."""
    gpus = list_visible_gpus()
    if len(gpus) > 1:
        os.environ[_VISIBLE] = gpus[job % len(gpus)]


def chosen_launcher(config: DictConfig) -> str | None:
    """Return the choice of Hydra's launcher, whether it was typed or a file chooses it."""
    choice: str | None = config.hydra.runtime.choices.get("hydra/launcher")
    return choice


def set_ray_token(config: DictConfig) -> None:
    """Set a temporary authentication token for the cluster that Ray starts for a sweep.

    Otherwise Ray writes a token file into the home directory. A token or a cluster that the user
    has configured takes precedence.

    Args:
        config: the configuration of the sweep, with Hydra's own keys.
    """
    chosen = chosen_launcher(config) == "ray"
    own = any(name.startswith(("RAY_AUTH", "RAY_ADDRESS")) for name in os.environ)
    elsewhere = OmegaConf.select(config, "hydra.launcher.ray.init.address") is not None
    if chosen and not (own or elsewhere or (Path.home() / ".ray" / "auth_token").exists()):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def check_slurm(config: DictConfig) -> None:
    """Refuse the launcher of SLURM where its commands are missing, as they are off a cluster.

    Raises:
        ConfigError: the launcher is chosen, and there is no `srun`.
    """
    if chosen_launcher(config) == _SLURM and shutil.which("srun") is None:
        raise ConfigError(
            f"{_LAUNCHER}{_SLURM}: there is no SLURM here (srun is not found); start it on a "
            "cluster's login node, or take jobs_per_gpu=N or hydra/launcher=submitit_local"
        )


def describe_slurm(launcher: Mapping[str, Any], runs: int | None) -> str | None:
    """Return a line on what SLURM is asked for; None for another launcher.

    Args:
        launcher: the configuration of Hydra's launcher.
        runs: number of runs, each of which is a job; None if it is not known.
    """
    if not str(launcher.get("_target_")).endswith(".SlurmLauncher"):
        return None
    jobs = "jobs" if runs is None else f"{runs} job{'' if runs == 1 else 's'}"
    partition = launcher.get("partition")
    where = "the cluster's default partition" if partition is None else f"partition {partition}"
    asked = [launcher.get("gpus_per_node"), launcher.get("gpus_per_task"), launcher.get("gres")]
    gpus = next((f"GPUs: {each}" for each in asked if each is not None), "no GPU")
    return (
        f"SLURM: {jobs} on {where}, {gpus}, at most {launcher.get('timeout_min')} min each; "
        "hydra.launcher.partition=, gpus_per_node= and timeout_min= change that"
    )


def share_cores(config: DictConfig, jobs: int) -> None:
    """Tell the jobs of a sweep how many of them share the cores of this machine.

    joblib divides the cores among its processes itself; it is told about limits that it does not
    see. The local launcher of submitit starts all jobs at once. Ray and SLURM give each job cores
    of its own.

    Args:
        config: the configuration of the sweep, with Hydra's own keys.
        jobs: the number of its jobs; 0 if the sweeper chooses them, so many at once as it says.
    """
    launcher = chosen_launcher(config)
    if launcher == "joblib":
        os.environ.setdefault("LOKY_MAX_CPU_COUNT", str(usable_cores().number))
    if launcher == "submitit_local":
        at_once = jobs or config.hydra.sweeper.get("n_jobs") or 1
        os.environ[JOBS] = str(at_once)


def check_gpu(device: str) -> None:
    """Refuse a GPU where there is certainly none, before torch is imported to look for it.

    Raises:
        DeviceError: no driver of a CUDA device is there, CUDA_VISIBLE_DEVICES hides all of them, or
            the GPU is Apple's and this is not macOS.
    """
    if device == "mps" and platform.system() != "Darwin":
        raise DeviceError("device=mps: there is no GPU of Apple here; use device=cpu or auto")
    hidden = _VISIBLE in os.environ and not list_visible_gpus()
    if device == "cuda" and (hidden or not any(driver.exists() for driver in GPU_DRIVERS)):
        raise DeviceError("device=cuda: there is no CUDA device here; use device=cpu or auto")


def list_visible_gpus() -> list[str]:
    """Return the GPUs in CUDA_VISIBLE_DEVICES if it is set, else the indices of all NVIDIA GPUs.

    As for CUDA itself, the list ends before the first -1.
    """
    if _VISIBLE in os.environ:
        listed = [gpu.strip() for gpu in os.environ[_VISIBLE].split(",")]
        seen = takewhile(lambda gpu: gpu != "-1", listed)
        return [gpu for gpu in seen if gpu]
    return [str(number) for number, _ in enumerate(NVIDIA_GPUS.glob("*"))]


@contextmanager
def notice_lost_workers() -> Iterator[None]:
    """Launch jobs in the block; a worker process that the system has killed becomes one line.

    Raises:
        SparseadError: a worker of joblib's or Ray's is gone, for instance because the system killed
            it when memory was exhausted. It could write no failure of its run.
    """
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in _LOST:
            raise
        raise SparseadError(
            "a worker process was killed, as the system does when memory is exhausted; what is "
            "recorded is intact: run the same command again to resume, with fewer jobs at once if "
            "memory was short (hydra.launcher.n_jobs)"
        ) from error


_LOST = ("TerminatedWorkerError", "BrokenProcessPool", "WorkerCrashedError")
"""The names of the errors of joblib, of Python and of Ray, none of which need be installed."""
