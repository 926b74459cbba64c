"""The cores that a process may use, and how its idle threads wait."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from composing import ask_for, launched_by
from sparsead.config.launchers import share_cores
from sparsead.config.threads import JOBS, bound_spinning, describe_waiting, usable_cores
from sparsead.errors import ConfigError
from sparsead.runs.request import RunRequest

OURS = {"GOMP_SPINCOUNT", "KMP_BLOCKTIME"}


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(6)), raising=False)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 6),  # not Linux, or no control groups: the affinity
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 6),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "900000 100000\n"}, 6),
        (
            {
                "proc/self/cgroup": "0::/user.slice/mine.scope\n",
                "sys/fs/cgroup/user.slice/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/user.slice/mine.scope/cpu.max": "max 100000\n",
            },
            3,
        ),
        (  # as in a container that sees the machine's path and its own group at the top
            {"proc/self/cgroup": "0::/docker/4f2a\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"},
            4,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/a\n4:cpu,cpuacct:/docker/4f2a\n0::/x\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            6,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "broken\n"}, 6),
    ],
)
def test_the_quota_of_a_control_group_bounds_the_cores(
    tmp_path: Path, files: dict[str, str], cores: int
) -> None:
    assert usable_cores({}, write(tmp_path, files)).number == cores


@pytest.mark.parametrize(
    ("environment", "cores"),
    [
        ({"SLURM_CPUS_PER_TASK": "3"}, 3),
        ({"SLURM_CPUS_PER_TASK": "64"}, 6),
        ({"SLURM_CPUS_ON_NODE": "4", "SLURM_TASKS_PER_NODE": "2(x3)"}, 2),
        ({"SLURM_CPUS_ON_NODE": "2", "SLURM_TASKS_PER_NODE": "4"}, 1),
        ({"SLURM_CPUS_ON_NODE": "4"}, 4),
        ({JOBS: "2"}, 3),
        ({JOBS: "4"}, 1),
        ({JOBS: "100"}, 1),
        ({JOBS: "2", "SLURM_CPUS_PER_TASK": "4"}, 2),
    ],
)
def test_the_jobs_of_a_sweep_share_the_cores(
    tmp_path: Path, environment: dict[str, str], cores: int
) -> None:
    assert usable_cores(environment, tmp_path).number == cores


def test_a_launcher_on_one_machine_tells_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOBS, raising=False)
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    share_cores(launched_by("ray"), 4)
    share_cores(launched_by("submitit_slurm"), 4)
    assert JOBS not in os.environ
    share_cores(launched_by("submitit_local"), 4)
    assert os.environ[JOBS] == "4"
    monkeypatch.setenv(JOBS, "")
    share_cores(launched_by("joblib"), 4)
    assert int(os.environ["LOKY_MAX_CPU_COUNT"]) <= 6
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    share_cores(launched_by("joblib"), 4)
    assert os.environ["LOKY_MAX_CPU_COUNT"] == "1"  # the user's own


def test_idle_threads_spin_briefly_unless_the_user_says_otherwise() -> None:
    environment = {"OMP_NUM_THREADS": "2"}
    bound_spinning(environment)
    assert environment.keys() == {"OMP_NUM_THREADS", *OURS}
    assert describe_waiting(environment).endswith("they spin briefly, then sleep")
    for own in ({"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "0"}):
        kept = dict(own)
        bound_spinning(kept)
        assert kept == own
        assert describe_waiting(kept).endswith("set by you")


@pytest.mark.parametrize(("given", "threads"), [("auto", None), ("3", 3), ("1", 1)])
def test_the_number_of_threads_is_no_part_of_a_runs_identity(
    given: str, threads: int | None
) -> None:
    request = ask_for("task=demo_mrpc", f"threads={given}")
    assert request.threads == threads
    assert RunRequest.from_dict(request.to_dict()) == request
    assert request.identity == ask_for("task=demo_mrpc").identity


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "all", "null", "true"])
def test_a_wrong_number_of_threads_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=f"threads={given}"):
        ask_for(f"threads={given}")
