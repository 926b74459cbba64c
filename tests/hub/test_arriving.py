"""The bytes of a download that have come, beside its bar."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

import pytest

from sparsead.hub import arriving
from sparsead.hub.arriving import show_download
from sparsead.hub.sources import data_source, model_source
from sparsead.progress import Stage
from stand_in_hub import Failure, StandInHub

WEIGHTS = bytes(3_000_000)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "pytorch_model.bin": WEIGHTS}
PATTERNS = ("*.json", "model*.safetensors*")


def await_remarks(shown: Stage, expected: str) -> None:
    for _ in range(500):
        if shown.remarks.startswith(expected):
            return
        time.sleep(0.01)
    raise AssertionError(shown.remarks)


def await_question(hub: StandInHub) -> None:
    """Wait until the hub has been asked which files a repository has."""
    for _ in range(1000):
        if any("/tree/" in request for request in hub.requests):
            return
        time.sleep(0.01)
    raise AssertionError(hub.requests)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving, "LOOK_SECONDS", 0.01)


def test_it_is_said_how_many_of_the_bytes_have_come(hub: StandInHub, tmp_path: Path) -> None:
    commit = hub.commit("models", "owner/model", FILES)
    blobs = tmp_path / "hf" / "hub" / "models--owner--model" / "blobs"
    blobs.mkdir(parents=True)
    name = hashlib.sha256(WEIGHTS).hexdigest()
    (blobs / f"{name}.killed.incomplete").write_bytes(bytes(400_000))
    (blobs / "of-another-commit").write_bytes(bytes(400_000))
    with show_download(model_source("owner/model", None), commit, PATTERNS) as shown:
        await_remarks(shown, "0 kB of 3 MB")
        (blobs / f"{name}.1.incomplete").write_bytes(bytes(1_400_000))
        await_remarks(shown, "1 MB of 3 MB")
        (blobs / f"{name}.1.incomplete").rename(blobs / name)
        (blobs / name).write_bytes(WEIGHTS)
        await_remarks(shown, "3 MB of 3 MB")


def test_of_a_data_set_the_bytes_alone_are_said(hub: StandInHub, tmp_path: Path) -> None:
    source = data_source("x", "text", "owner/set", None, None)
    blobs = tmp_path / "hf" / "hub" / "datasets--owner--set" / "blobs"
    with show_download(source, "0" * 40, None) as shown:
        blobs.mkdir(parents=True)
        (blobs / "a.incomplete").write_bytes(bytes(50_000))
        await_remarks(shown, "50 kB")
    assert hub.requests == []


def test_a_late_answer_to_the_question_of_the_size_is_not_printed(
    hub: StandInHub, caplog: pytest.LogCaptureFixture
) -> None:
    commit = hub.commit("models", "owner/model", FILES)
    source = model_source("owner/model", None)
    caplog.set_level(logging.INFO)
    with hub.failing(Failure(path="tree", delay=0.3)):
        with show_download(source, commit, PATTERNS):
            await_question(hub)
        time.sleep(0.4)
    assert "HTTP Request" not in caplog.text
    assert logging.getLogger("httpx").level < logging.CRITICAL
