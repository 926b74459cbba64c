"""Processes that share GPUs: how many there are, and which GPU each of them sees."""

from __future__ import annotations

import os
from multiprocessing import current_process
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from composing import launched_by
from sparsead.config import launchers
from sparsead.config.launchers import notice_lost_workers
from sparsead.errors import ConfigError, DeviceError, SparseadError


def test_joblibs_workers_spread_over_the_visible_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from joblib import Parallel, delayed

    names = Parallel(n_jobs=2)(delayed(lambda: current_process().name)() for _ in range(2))
    assert "MainProcess" not in names
    for device in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        (tmp_path / device).mkdir()
    monkeypatch.setattr(launchers, "NVIDIA_GPUS", tmp_path)
    taken = []
    for given in (None, "4,7", "5,-1,6", "", "none"):
        for job in (0, 1, 5):
            if given is None:
                monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
            else:
                monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
            launchers.take_gpu(job)
            taken.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert taken == ["0", "1", "2", "4", "7", "7", *["5,-1,6"] * 3, *[""] * 3, *["none"] * 3]


def test_jobs_per_gpu_is_joblib_with_so_many_processes_for_each_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=6"]
    assert launchers.expand_jobs(["seed=1,2", "jobs_per_gpu=3"], True) == ["seed=1,2", *launcher]
    for chosen in ("hydra/launcher=joblib", "hydra/launcher='joblib'"):
        assert launchers.expand_jobs([chosen, "jobs_per_gpu=3"], True) == launcher
    for words in (
        ["device=cpu"],
        ["++device=cpu"],
        ["device='cpu'"],
        ["device=auto", "device=cpu"],
    ):
        on_cpu = launchers.expand_jobs(["jobs_per_gpu=3", *words], True)
        assert on_cpu[-1] == "hydra.launcher.n_jobs=3"
    for words in (["device=cpu", "device=cuda"], ["device=cpu,cuda"]):
        assert launchers.expand_jobs(["jobs_per_gpu=3", *words], True)[-1] == launcher[-1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert launchers.expand_jobs(["jobs_per_gpu=3"], True)[-1] == "hydra.launcher.n_jobs=3"
    assert launchers.expand_jobs(["seed=1"], False) == ["seed=1"]


@pytest.mark.parametrize(
    ("arguments", "multirun", "message"),
    [
        (["jobs_per_gpu=0"], True, "jobs_per_gpu=0: must be a whole number"),
        (["jobs_per_gpu=1.5"], True, "jobs_per_gpu=1.5: must be a whole number"),
        (["jobs_per_gpu=1000000"], True, "jobs_per_gpu=1000000: must be .* from 1 to 1024"),
        (["jobs_per_gpu=" + 5000 * "9"], True, "must be a whole number from 1 to 1024"),
        (["hydra.launcher.n_jobs=0"], True, "n_jobs=0: must be .* from 1 to 1024, or -1 for"),
        (["++hydra.launcher.n_jobs=1025"], True, "n_jobs=1025: must be a whole number"),
        (["jobs_per_gpu=2"], False, "add -m"),
        (["jobs_per_gpu=2", "hydra.launcher.n_jobs=7"], True, "give one of the two"),
        (["jobs_per_gpu=2", "++hydra.launcher.n_jobs=7"], True, "give one of the two"),
        (["jobs_per_gpu=2", "hydra/launcher=ray"], True, "not with hydra/launcher=ray"),
    ],
)
def test_wrong_jobs_are_refused(arguments: list[str], multirun: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        launchers.expand_jobs(arguments, multirun)


@pytest.mark.parametrize(
    ("asked", "runs", "started"),
    [(1000, 2, 2), (2, 6, 2), (-1, 2, -1), (1000, None, 1000), (None, 2, None)],
)
def test_there_are_no_more_processes_than_runs(
    asked: int | None, runs: int | None, started: int | None
) -> None:
    config = OmegaConf.create({"hydra": {"launcher": {"n_jobs": asked}}})
    OmegaConf.set_readonly(config, True)
    launchers.start_no_idle_processes(config.hydra.launcher, runs)
    assert config.hydra.launcher.n_jobs == started


SLURM = {"_target_": "hydra_plugins.x.SlurmLauncher", "timeout_min": 60, "partition": None}


@pytest.mark.parametrize(
    ("launcher", "runs", "said"),
    [
        (SLURM, 1, "SLURM: 1 job on the cluster's default partition, no GPU, at most 60 min each"),
        (
            SLURM | {"partition": "a100", "gpus_per_node": 2},
            6,
            "SLURM: 6 jobs on partition a100, GPUs: 2, at most 60 min each",
        ),
        (SLURM | {"gres": "gpu:1"}, None, "SLURM: jobs on the cluster's default partition, GPUs: "),
    ],
)
def test_slurm_s_partition_gpus_and_time_are_said(
    launcher: dict[str, object], runs: int | None, said: str
) -> None:
    line = launchers.describe_slurm(launcher, runs)
    assert line is not None
    assert line.startswith(said)
    assert "hydra.launcher.partition=" in line
    assert launchers.describe_slurm({"_target_": "hydra_plugins.x.JoblibLauncher"}, 2) is None


def test_slurm_is_refused_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    launchers.check_slurm(launched_by("joblib"))
    with pytest.raises(ConfigError, match="there is no SLURM here"):
        launchers.check_slurm(launched_by("submitit_slurm"))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    launchers.check_slurm(launched_by("submitit_slurm"))


def test_the_visible_gpus_end_before_the_first_negative_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,-1,2")
    assert launchers.list_visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1,0")
    assert launchers.list_visible_gpus() == []
    with pytest.raises(DeviceError, match="there is no CUDA device here"):
        launchers.check_gpu("cuda")


@pytest.mark.parametrize(("sweeper", "shared"), [({"n_jobs": 3}, "3"), ({}, "1")])
def test_jobs_that_a_sweeper_chooses_share_the_cores_as_it_says(
    sweeper: dict[str, int], shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEAD_JOBS", "")
    choices = {"hydra/launcher": "submitit_local"}
    hydra = {"runtime": {"choices": choices}, "sweeper": sweeper}
    launchers.share_cores(OmegaConf.create({"hydra": hydra}), 0)
    assert os.environ["SPARSEAD_JOBS"] == shared


def test_a_killed_worker_is_one_line() -> None:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with (
        pytest.raises(SparseadError, match=r"a worker process was killed, .* fewer jobs at once"),
        notice_lost_workers(),
    ):
        raise TerminatedWorkerError("A worker process\n\nwas unexpectedly terminated")
    with pytest.raises(ValueError, match="other"), notice_lost_workers():
        raise ValueError("other")
