"""The same small sweep under each launcher that is installed: the same records."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from composing import ask_for
from conftest import Cli, run_unread
from exhaustive import choose
from sparsead.runs.record import RunRecord, find_record, read_records
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


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, RunRecord]:
    """The same runs without a launcher."""
    outputs = tmp_path_factory.mktemp("alone")
    return {seed: train(ask_for(*SMALL, f"seed={seed}", f"outputs={outputs}")) for seed in SEEDS}


@pytest.mark.parametrize("launcher", choose(LAUNCHERS, ["joblib", "submitit"]))
def test_a_launcher_leaves_the_records_of_a_run_alone(
    launcher: str, sparsead: Cli, tmp_path: Path, alone: Mapping[int, RunRecord]
) -> None:
    module = f"hydra_plugins.hydra_{launcher}_launcher"
    if not is_installed(module):
        pytest.skip(f"{module} is not installed")
    sweep = f"seed={','.join(map(str, [*SEEDS, *SEEDS]))}"  # each is trained and counted once
    words = ["train", "-m", *SMALL, sweep, *LAUNCHERS[launcher]]
    if launcher == "joblib":  # its workers write to a pipe that nobody reads any more
        done = run_unread(tmp_path, words)
        assert "Traceback" not in done.stderr
    else:
        done = sparsead(words, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "dashboard at" not in done.stderr
    if launcher == "submitit":
        jobs_files = re.search(r"sweep output dir : (\S+)", done.stdout)
        assert jobs_files, done.stdout
        assert (tmp_path / jobs_files[1]).is_dir()
        assert f"\n{len(SEEDS)} done;" in done.stdout
    assert not (tmp_path / ".ray").exists()
    assert len(list(read_records(tmp_path / "outputs"))) == len(SEEDS)
    for seed in SEEDS:
        request = ask_for(*SMALL, f"seed={seed}", f"outputs={tmp_path / 'outputs'}")
        launched = find_record(request.folder)
        assert launched is not None
        for key in ("identity", "scores", "history", "sparsity"):
            assert json.dumps(launched.result[key]) == json.dumps(alone[seed].result[key]), key
