"""The number of threads of a run: the user's, or a thread for each core that it may use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import sparsead
from conftest import Cli
from sparsead.config.threads import JOBS, Cores
from sparsead.training import threads

_WAIT = ("GOMP_", "KMP_", "OMP_WAIT")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_auto_is_torchs_number_within_the_usable_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", JOBS, "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "read_torch_threads", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert threads.choose_threads() == 4  # a core's second thread is left out
    monkeypatch.setenv(JOBS, "4")
    assert threads.choose_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "4")  # the user's own
    assert threads.choose_threads() == 4


def test_a_given_number_is_used_and_auto_returns_to_torchs() -> None:
    threads.use_threads(3)
    assert torch.get_num_threads() == 3
    threads.use_threads(None)
    assert torch.get_num_threads() == threads.read_torch_threads()


@pytest.mark.slow
def test_a_run_computes_with_the_threads_that_are_given(
    forked: Cli, tmp_path: Path, glue_fixture: Path
) -> None:
    words = ["backbone=tiny-bert", "task=mrpc", f"task.path={glue_fixture}", "protocol.epochs=1"]
    done = forked(["train", *words, "task.limit=8", "device=cpu", "threads=3"])
    assert done.returncode == 0, done.stderr
    (result,) = (tmp_path / "outputs" / "runs").glob("*/result.json")
    assert '"threads": 3' in result.read_text("utf-8")
    done = forked(["train", *words, "threads=none"])
    assert done.returncode == 2
    assert "threads=none: must be auto or a whole number from 1 to 1024" in done.stderr


@pytest.mark.slow
def test_a_call_in_python_computes_with_the_given_threads_and_restores_the_number(
    tmp_path: Path,
) -> None:
    tiny = ["backbone=tiny-bert", "task.limit=8", "protocol.epochs=1", "device=cpu"]
    before = torch.get_num_threads()
    record = sparsead.train([*tiny, f"threads={before + 1}"], outputs=tmp_path)
    assert record.result["environment"]["device"]["threads"] == before + 1
    assert torch.get_num_threads() == before


def test_auto_in_a_block_takes_no_more_threads_than_the_program_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "usable_cores", lambda: Cores(2, {}))
    for own, within in ((1, 1), (4, 2)):
        torch.set_num_threads(own)
        with threads.threads_within(None):
            assert torch.get_num_threads() == within
        assert torch.get_num_threads() == own


@pytest.mark.slow
def test_openmp_has_read_how_its_threads_wait_before_torch_was_imported(tmp_path: Path) -> None:
    code = (
        "import os, sys; from sparsead import cli\n"
        "sys.argv = ['sparsead', 'predict', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules\n"
        "import torch\n"
        "print(open('/proc/self/environ').read() and os.environ['GOMP_SPINCOUNT'])\n"
    )
    free = {name: value for name, value in os.environ.items() if not name.startswith(_WAIT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=free | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    if "GOMP_SPINCOUNT" in done.stderr:  # GNU's runtime prints what it has read
        assert "GOMP_SPINCOUNT = '2000'" in done.stderr
