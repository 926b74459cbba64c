"""Fixtures of several test files. A process has one thread, because the tests run in parallel."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import absl.logging
import pytest
from hypothesis import settings

import conf_files  # noqa: F401 - changes how Hydra reads conf/
from collecting import collect_rarely
from exhaustive import EXHAUSTIVE
from forked import start_command
from sparsead.progress import LineHandler
from stand_in_hub import HUB, StandInHub

settings.register_profile(
    "parallel", deadline=None, derandomize=True, max_examples=50 if EXHAUSTIVE else 25
)
settings.load_profile("parallel")

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_ENDPOINT"] = HUB.url  # read when huggingface_hub is imported
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("HYDRA_FULL_ERROR", None)  # a user's own: refusals would be tracebacks
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each command would compile the package again

# Where Hydra configures logging, absl's handler closes its stream unless that is one of sys's own.
# It would be pytest's, because commands replace sys.stderr by a stream that survives a closed pipe.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

_END_TO_END = Path(__file__).parent / "end_to_end"
Cli = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests in end_to_end as slow; elsewhere the mark is at the test itself."""
    for item in items:
        if _END_TO_END in item.path.parents:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Let garbage collections, of which every run makes two, skip what was imported so far."""
    collect_rarely()


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Take back how a command that ran in this process had Hydra configure logging.

    Its handler would print the warnings of later tests among the output that these read.
    """
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [each for each in root.handlers if isinstance(each, LineHandler)]:
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let the tests use a cache of their own instead of the user's."""
    os.environ["SPARSEAD_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The real data: SPARSEAD_DATA, or ../shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("SPARSEAD_DATA", beside))
    if not root.is_dir():
        pytest.skip("no real data: set SPARSEAD_DATA")
    return root


@pytest.fixture(scope="session")
def glue_fixture() -> Path:
    """A committed folder in GLUE's layout, with sentences that were written for the tests."""
    return Path(__file__).parent / "data" / "glue"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """An empty stand-in for the hub, with empty caches, which this process and commands ask."""
    import datasets
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    from sparsead.hub import commits

    HUB.reset()
    HUB.start()
    commits.forget_commits()
    for module in (constants, datasets.config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")
    monkeypatch.setattr(commits, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _seconds: None))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("SPARSEAD_CACHE", str(tmp_path / "cache"))
    yield HUB
    commits.forget_commits()


@pytest.fixture
def sparsead(tmp_path: Path) -> Cli:
    """Run the console script in an empty folder, as a user does."""

    def run(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
        script = Path(sys.executable).with_name("sparsead")
        return subprocess.run(
            [script, *arguments],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def forked(tmp_path: Path) -> Cli:
    """Run `sparsead` as the fixture above does, in a process that need not import torch again."""

    def run(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
        return start_command(arguments, tmp_path, **environment).wait()

    return run


def run_unread(folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run the console script in a folder, with a standard output that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [Path(sys.executable).with_name("sparsead"), *words],
            cwd=folder,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
        )
    finally:
        os.close(writing)
