from __future__ import annotations

import socket
import time

import pytest
from huggingface_hub import constants

from composing import compose
from sparsead.errors import ConfigError, SourceError
from sparsead.hub.commits import find_commit, forget_commits, resolve
from sparsead.hub.reach import is_cached
from sparsead.hub.sources import model_source
from stand_in_hub import Failure, StandInHub

NAME = "owner/model"
FILES = {"config.json": b"{}"}
BAD_TOKEN = "Invalid credentials in Authorization header"


def test_a_branch_is_its_commit_and_a_process_asks_once(hub: StandInHub) -> None:
    main = hub.commit("models", NAME, FILES)
    other = hub.commit("models", NAME, {"config.json": b"[]"}, "refs/pr/1")
    assert find_commit(model_source(NAME, None)) == main
    assert find_commit(model_source(NAME, "refs/pr/1")) == other
    asked = len(hub.requests)
    hub.commit("models", NAME, {"config.json": b"1"})
    assert find_commit(model_source(NAME, None)) == main
    assert len(hub.requests) == asked


def test_a_commit_needs_no_hub(hub: StandInHub) -> None:
    assert find_commit(model_source(NAME, "0" * 40)) == "0" * 40
    assert hub.requests == []


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (Failure(401, "RepoNotFound"), r"no model of this name, or it is private \(401\); check"),
        (Failure(404, "RepoNotFound"), r"no model of this name, or it is private \(404\); check"),
        (Failure(401, "GatedRepo"), r"gated \(401\): .* http.*/owner/model and set HF_TOKEN"),
        (Failure(403, "GatedRepo"), r"is gated \(403\)"),
        (Failure(401, message=BAD_TOKEN), r"refuses access \(401\): the token is not valid"),
        (Failure(403), r"refuses access \(403\)"),
        (Failure(404, "RevisionNotFound"), r"no revision v9 on the hub; backbone.revision takes"),
        (Failure(429), r"too many requests from here \(429\)"),
        (Failure(500), r"not in the cache, and http.* fails \(500\); give .*backbone.path=FOLDER"),
        (Failure(503), r"fails \(503\)"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(
    failure: Failure, said: str, hub: StandInHub
) -> None:
    hub.commit("models", NAME, FILES, "v9")
    with hub.failing(failure), pytest.raises(SourceError, match=said) as error:
        find_commit(model_source(NAME, "v9"))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("status", [403, 429, 500])
def test_a_hub_that_fails_leaves_the_commit_of_its_cache(status: int, hub: StandInHub) -> None:
    commit = hub.commit("models", NAME, FILES)
    find_commit(model_source(NAME, None))
    forget_commits()
    with hub.failing(Failure(status)):
        found = resolve(model_source(NAME, None))
    assert found.commit == commit
    assert found.failure is not None


def test_a_hub_that_fails_once_is_asked_again(hub: StandInHub) -> None:
    commit = hub.commit("models", NAME, FILES)
    with hub.failing(Failure(503, times=2)):
        assert find_commit(model_source(NAME, None)) == commit


@pytest.mark.slow
def test_a_slow_hub_is_waited_for(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert constants.HF_HUB_ETAG_TIMEOUT >= 10  # seconds; the default of the hub's own client
    commit = hub.commit("models", NAME, FILES)
    find_commit(model_source(NAME, None))  # a process's first request imports the client
    forget_commits()
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    with hub.failing(Failure(delay=0.5)):
        assert find_commit(model_source(NAME, None)) == commit
    forget_commits()
    start = time.monotonic()
    with (
        hub.failing(Failure(delay=4)),
        pytest.raises(SourceError, match=r"did not answer within 1 s \(HF_HUB_ETAG_TIMEOUT"),
    ):
        find_commit(model_source("owner/other", None))
    assert time.monotonic() - start < 3.5


def test_a_hub_that_is_not_there(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(SourceError, match=rf"not in the cache, and http.*:{port} cannot be reach"):
        find_commit(model_source(NAME, None))


def test_offline_mode_is_not_called_unreachable(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=r"and HF_HUB_OFFLINE is set, so that the hub is not ask"):
        find_commit(model_source(NAME, None))
    assert hub.requests == []


@pytest.mark.parametrize("revision", [None, 40 * "0"])
@pytest.mark.parametrize("name", ["../../etc", "a/b/c", "a b"])
def test_what_is_no_name_is_refused(name: str, revision: str | None, hub: StandInHub) -> None:
    source = model_source(name, revision)
    with pytest.raises(SourceError, match=r"is not the name of a model on the hub"):
        find_commit(source)
    assert not is_cached(source)


@pytest.mark.parametrize("group", ["backbone=bert-base backbone", "task=rte task"])
def test_what_is_no_revision_is_refused(group: str) -> None:
    for revision in ("../main", "'a b'", "/main"):
        with pytest.raises(ConfigError, match=r"must be a branch, a tag or a commit of the hub"):
            compose(*f"{group}.revision={revision}".split(" ", 1))


def test_a_revision_without_the_hub_is_refused(glue_fixture: object) -> None:
    for overrides in (
        ("backbone.revision=main",),
        ("task=mrpc", f"task.path={glue_fixture}", "task.revision=main"),
    ):
        with pytest.raises(ConfigError, match=r"but this run reads nothing from the hub"):
            compose(*overrides)
