"""What is said of the proxy and of the times that a user has set for the hub."""

from __future__ import annotations

import pytest
from huggingface_hub import constants

from sparsead import cli
from sparsead.hub.failures import describe
from sparsead.hub.sources import model_source


class ConnectError(Exception):
    """An error of the name that the hub's client gives to a network that does not answer."""


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("http://ann:secret@localhost:3128", "through the proxy localhost:3128 (HTTPS_PROXY)"),
        ("http://ann:secret@localhost:99999", "HTTPS_PROXY, which is no address (Port out of "),
        ("http://ann:secret@[::1", "HTTPS_PROXY, which is no address ("),
        ("localhost:3128", "HTTPS_PROXY, which has to begin with http://"),
        ("ann:secret@localhost:3128", "HTTPS_PROXY, which has to begin with http://"),
    ],
)
def test_a_proxy_that_is_no_address_is_said_without_its_password(
    proxy: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    reason = describe(ConnectError(), model_source("some/model", None)).reason
    assert said in reason
    assert "secret" not in reason


@pytest.mark.parametrize("seconds", ["abc", "1.5", "", "-1"])
def test_a_time_that_is_no_whole_number_is_one_line(
    seconds: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", seconds)
    monkeypatch.setattr("sys.argv", ["sparsead", "list", "pruners"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert capsys.readouterr().err == (
        f"sparsead: HF_HUB_ETAG_TIMEOUT={seconds}: must be a whole number of seconds, as in "
        "HF_HUB_ETAG_TIMEOUT=60\n"
    )
