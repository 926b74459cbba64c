"""The same small sweep under each launcher that is installed: the same records."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from multiprocessing import current_process
from pathlib import Path

import pytest

from composing import ask_for
from conftest import Cli
from sparsead.config import launchers
from sparsead.errors import ConfigError
from sparsead.runs.record import find_record, read_records
from sparsead.train import train

SMALL = (
    *("backbone=tiny-bert", "task=demo_mrpc", "task.limit=8", "protocol.epochs=1"),
    *("device=cpu", "precision=fp32"),  # auto is what each process times
)
SEEDS = (1, 2)
LAUNCHERS = {
    "joblib": ("jobs_per_gpu=2",),
    "submitit": ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"),
    "ray": ("hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2"),
}


def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_leaves_the_records_of_a_run_alone(
    launcher: str, sparsead: Cli, tmp_path: Path
) -> None:
    module = f"hydra_plugins.hydra_{launcher}_launcher"
    if not is_installed(module):
        pytest.skip(f"{module} is not installed")
    sweep = f"seed={','.join(map(str, SEEDS))}"
    done = sparsead(["train", "-m", *SMALL, sweep, *LAUNCHERS[launcher]], HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "dashboard at" not in done.stderr
    jobs_files = re.search(r"sweep output dir : (\S+)", done.stdout)
    assert launcher != "submitit" or (jobs_files and (tmp_path / jobs_files[1]).is_dir()), (
        done.stdout
    )
    assert not (tmp_path / ".ray").exists()
    assert len(list(read_records(tmp_path / "outputs"))) == len(SEEDS)
    for seed in SEEDS:
        request = ask_for(*SMALL, f"seed={seed}", f"outputs={tmp_path / 'outputs'}")
        launched = find_record(request.folder)
        assert launched is not None
        alone = train(ask_for(*SMALL, f"seed={seed}", f"outputs={tmp_path / 'alone'}"))
        for key in ("identity", "scores", "history", "sparsity"):
            assert json.dumps(launched.result[key]) == json.dumps(alone.result[key]), key


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
    for given in (None, "4,7", "5", "", "none"):
        for job in (0, 1, 5):
            if given is None:
                monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
            else:
                monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
            launchers.take_gpu(job)
            taken.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert taken == ["0", "1", "2", "4", "7", "7", *["5"] * 3, *[""] * 3, *["none"] * 3]


def test_jobs_per_gpu_is_joblib_with_so_many_processes_for_each_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=6"]
    assert launchers.expand_jobs(["seed=1,2", "jobs_per_gpu=3"], True) == ["seed=1,2", *launcher]
    on_cpu = launchers.expand_jobs(["jobs_per_gpu=3", "device=cpu"], True)
    assert on_cpu[-1] == "hydra.launcher.n_jobs=3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert launchers.expand_jobs(["jobs_per_gpu=3"], True)[-1] == "hydra.launcher.n_jobs=3"
    assert launchers.expand_jobs(["seed=1"], False) == ["seed=1"]


@pytest.mark.parametrize(
    ("arguments", "multirun", "message"),
    [
        (["jobs_per_gpu=0"], True, "jobs_per_gpu=0: must be a whole number"),
        (["jobs_per_gpu=1.5"], True, "jobs_per_gpu=1.5: must be a whole number"),
        (["jobs_per_gpu=2"], False, "add -m"),
        (["jobs_per_gpu=2", "hydra.launcher.n_jobs=7"], True, "give one of the two"),
        (["jobs_per_gpu=2", "hydra/launcher=ray"], True, "not with hydra/launcher=ray"),
    ],
)
def test_wrong_jobs_are_refused(arguments: list[str], multirun: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        launchers.expand_jobs(arguments, multirun)
