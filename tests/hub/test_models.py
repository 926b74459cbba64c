from __future__ import annotations

import errno
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from sparsead.errors import SourceError
from sparsead.hub.commits import forget_commits
from sparsead.hub.models import fetch_model, find_conversion
from sparsead.hub.reach import check_reachable, is_cached
from sparsead.hub.sources import model_source
from stand_in_hub import Failure, StandInHub

NAME = "owner/model"
SOURCE = model_source(NAME, None)
WEIGHTS = bytes(range(256)) * 2000
FILES = {
    "config.json": b"{}",
    "vocab.txt": b"a",
    "tokenizer.json": b'{"a": 1}',
    "model.safetensors": WEIGHTS,
    "own.py": b"raise RuntimeError",
    "pytorch_model.bin": b"not wanted",
}
TITLE = "Adding `safetensors` variant of this model"


def test_the_files_come_once_and_no_others(hub: StandInHub) -> None:
    commit = hub.commit("models", NAME, FILES)
    folder = fetch_model(SOURCE)
    assert folder.name == commit
    wanted = {"config.json", "vocab.txt", "tokenizer.json", "model.safetensors"}
    assert {file.name for file in folder.iterdir()} == wanted
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    asked = len(hub.requests)
    assert fetch_model(SOURCE) == folder
    assert len(hub.requests) == asked


@pytest.mark.parametrize(("token", "sent"), [(None, None), ("hf_own", "Bearer hf_own")])
def test_every_request_has_the_token_that_the_user_has_set_and_no_other(
    token: str | None, sent: str | None, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", f"{constants.HF_HOME}/token")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.commit("models", NAME, FILES)
    fetch_model(SOURCE)
    assert hub.tokens
    assert {*hub.tokens} == {sent}


def test_a_commit_that_is_cached_is_never_asked_for(hub: StandInHub) -> None:
    commit = hub.commit("models", NAME, FILES)
    folder = fetch_model(SOURCE)
    hub.requests.clear()
    assert fetch_model(model_source(NAME, commit)) == folder
    assert hub.requests == []


@pytest.mark.parametrize("status", [403, 429, 500])
def test_what_is_cached_is_used_and_the_failure_said(
    status: int, hub: StandInHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.commit("models", NAME, FILES)
    folder = fetch_model(SOURCE)
    forget_commits()
    with hub.failing(Failure(status)):
        check_reachable([SOURCE])
        for _ in range(2):  # as where the pickled weights are looked for after the safetensors
            assert fetch_model(SOURCE) == folder
    assert caplog.text.count(f"({status})") == 1
    assert f"commit {folder.name} is used" in caplog.text


@pytest.mark.parametrize("status", [403, 429, 500])
def test_half_a_snapshot_is_not_used(status: int, hub: StandInHub) -> None:
    commit = hub.commit("models", NAME, FILES)
    with (
        hub.failing(Failure(404, "EntryNotFound", path="tokenizer.json")),
        pytest.raises(SourceError),
    ):
        fetch_model(SOURCE)
    forget_commits()
    with hub.failing(Failure(status)):
        for fetch in (lambda: check_reachable([SOURCE]), lambda: fetch_model(SOURCE)):
            with pytest.raises(SourceError, match=rf"owner/model: .*{status}") as error:
                fetch()
            assert len(str(error.value).splitlines()) == 1
    assert not is_cached(model_source(NAME, commit))
    forget_commits()
    assert len(list(fetch_model(SOURCE).iterdir())) == 4
    assert is_cached(SOURCE)


@pytest.mark.slow
def test_a_download_that_is_cut_goes_on_where_it_was(hub: StandInHub) -> None:
    hub.commit("models", NAME, FILES)
    cut = Failure(path="resolve.*safetensors", cut=300_000, times=2)  # HEAD, and the first GET
    with hub.failing(cut):
        folder = fetch_model(SOURCE)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sum("GET" in asked and "safetensors" in asked for asked in hub.requests) == 2


def test_a_download_that_is_always_cut_is_one_line(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit("models", NAME, FILES)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with (
        hub.failing(Failure(path="resolve.*safetensors", cut=0)),
        pytest.raises(SourceError, match=r"the download broke off .*; run the command again"),
    ):
        fetch_model(SOURCE)


def test_a_full_disk_is_one_line(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("models", NAME, FILES)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(SourceError, match=r"the disk of the hub's cache is full .*HF_HOME=FOLDER"):
        fetch_model(SOURCE)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_fetched_again(
    name: str, hub: StandInHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.commit("models", NAME, FILES)
    file = fetch_model(SOURCE) / name
    damage(file)
    assert (fetch_model(SOURCE) / name).read_bytes() == FILES[name]
    assert f"damaged in the hub's cache, and fetched again: {name}" in caplog.text
    damage(file)
    forget_commits()
    with (
        hub.failing(Failure(500)),
        pytest.raises(SourceError, match=rf"is damaged in the cache \({name}\), and .* fails"),
    ):
        fetch_model(SOURCE)


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.resolve().write_bytes(content)


def test_a_proxy_is_asked_in_the_hubs_place(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit("models", NAME, FILES)
    monkeypatch.setenv("http_proxy", hub.url)  # which answers for the hub that has no address
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    close_session()  # the client reads the proxy when it is made
    try:
        assert (fetch_model(SOURCE) / "model.safetensors").read_bytes() == WEIGHTS
    finally:
        monkeypatch.undo()
        close_session()


def test_a_proxy_that_is_not_there_is_named(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    close_session()  # the client reads the proxy when it is made
    through = r"hub.invalid cannot be reached through the proxy 127.0.0.1:9 \(HTTP_PROXY\)"
    try:
        with pytest.raises(SourceError, match=through) as error:
            fetch_model(SOURCE)
    finally:
        monkeypatch.undo()
        close_session()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("author", "title", "trusted"),
    [
        ("SFconvertbot", TITLE, True),
        ("SFconvertbot", "Something else", False),
        ("somebody", TITLE, False),
    ],
)
def test_only_the_hubs_own_conversion_is_trusted(
    author: str, title: str, trusted: bool, hub: StandInHub
) -> None:
    hub.commit("models", NAME, {"config.json": b"{}", "pytorch_model.bin": b""})
    branch = hub.open_pull(NAME, FILES, author, title)
    assert find_conversion(SOURCE) == (branch if trusted else None)
    hub.commit("models", NAME, {"config.json": b"{ }", "pytorch_model.bin": b"newer"})
    assert find_conversion(SOURCE) is None
