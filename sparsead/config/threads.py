"""How many cores this process may use, and how long its idle threads spin; found without torch.

A parallel operation ends at a barrier, where OpenMP's threads spin before they sleep. By default
they spin for milliseconds. If another process occupies a core, one of the threads cannot run, and
the others spin at every barrier until it can. A training can then take ten times as long.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

_SPINNING = {"GOMP_SPINCOUNT": "2000", "KMP_BLOCKTIME": "1"}
"""How long an idle thread spins, for each OpenMP runtime.

GNU's (PyTorch's wheels on Linux) counts turns, of about 20 ns each, and Intel's and LLVM's (conda's
packages, macOS) milliseconds. Their defaults are 300,000 turns and 200 ms. Measured on two cores by
scripts/bench_busy.py: where nothing else runs, 2,000 turns cost 1 % of a step, and 1,000 turns 4 %;
beside a busy loop a step takes 1.4 times the fair share of the cores with both, and 2.2 times with
the default.
"""
_WAITING = (*_SPINNING, "OMP_WAIT_POLICY", "KMP_LIBRARY")
"""Variables by which users set the same themselves."""
_NUMBERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which users, torchrun, joblib and Ray set the number of threads."""
JOBS = "SPARSEAD_JOBS"
"""The variable that tells the jobs of a sweep how many of them share the machine at a time."""


@dataclass(frozen=True)
class Cores:
    """The number of cores that a process may use, and each limit by its name."""

    number: int
    limits: Mapping[str, float]


def bound_spinning(environment: MutableMapping[str, str] | None = None) -> None:
    """Let idle threads sleep soon, unless the user has set how they wait; before torch is imported.

    OpenMP reads the variables when it is loaded, with torch.
    """
    environment = os.environ if environment is None else environment
    if not list_set_variables(environment, _WAITING):
        environment.update(_SPINNING)


def list_set_variables(environment: Mapping[str, str], names: tuple[str, ...]) -> list[str]:
    """Return those of the variables that are set, as NAME=value."""
    return [f"{name}={environment[name]}" for name in names if environment.get(name)]


def list_thread_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the variables that set the number of threads, as NAME=value."""
    return list_set_variables(os.environ if environment is None else environment, _NUMBERS)


def describe_waiting(environment: Mapping[str, str] | None = None) -> str:
    """Say how idle threads wait, and who has set that."""
    found = list_set_variables(os.environ if environment is None else environment, _WAITING)
    if not found:
        return "spin for as long as OpenMP lets them"
    ours = [f"{name}={value}" for name, value in _SPINNING.items()]
    waiting = "they spin briefly, then sleep" if found == ours else "set by you"
    return f"{', '.join(found)}: {waiting}"


def usable_cores(environment: Mapping[str, str] | None = None, root: Path = Path("/")) -> Cores:
    """Return how many cores this process may use, divided among the jobs that share them.

    Args:
        environment: the environment's variables, where SLURM tells its limits.
        root: the folder in which /proc and /sys are.
    """
    environment = os.environ if environment is None else environment
    limits = dict(_limits(environment, root))
    jobs = int(environment.get(JOBS) or 1)
    return Cores(max(1, int(min(limits.values()) / jobs)), limits)


def _limits(environment: Mapping[str, str], root: Path) -> Iterator[tuple[str, float]]:
    yield "cores of the machine", os.cpu_count() or 1
    if sys.platform == "linux":
        yield "affinity", len(os.sched_getaffinity(0))
    quotas = [*_quotas(root)]
    if quotas:
        yield "cgroup quota", min(quotas)
    slurm = _slurm_cores(environment)
    if slurm is not None:
        yield "SLURM", slurm


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of this process's control groups and of those above them, in cores."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        mounted = root / "sys/fs/cgroup" / controllers
        if controllers and "cpu" not in controllers.split(","):
            continue
        # In a container the path is that of the machine, and its own group is mounted at the top.
        group = mounted / path.lstrip("/")
        for folder in (group, *group.parents):
            yield from _quota(folder)
            if folder == mounted:
                break


def _quota(group: Path) -> Iterator[float]:
    """Yield a control group's quota in cores, if it has one, in the form of either version."""
    try:
        quota, period = (group / "cpu.max").read_text("utf-8").split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text("utf-8").strip()
            period = (group / "cpu.cfs_period_us").read_text("utf-8").strip()
        except OSError:
            return
    if quota.isdecimal() and period.isdecimal() and int(period):  # else "max" or -1: no quota
        yield int(quota) / int(period)


def _slurm_cores(environment: Mapping[str, str]) -> int | None:
    """Return the cores of one of SLURM's tasks, which it need not confine to them."""
    each = environment.get("SLURM_CPUS_PER_TASK", "")
    if each.isdecimal():
        return int(each)
    on_node = environment.get("SLURM_CPUS_ON_NODE", "")
    tasks = re.match(r"\d+", environment.get("SLURM_TASKS_PER_NODE", "1"))  # such as 2(x3)
    if not on_node.isdecimal():
        return None
    return max(1, int(on_node) // max(1, int(tasks[0]) if tasks else 1))
