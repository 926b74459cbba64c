"""Hydra's own flags of `sparsead train`."""

from __future__ import annotations

import pytest

from sparsead.config.flags import read_flags
from sparsead.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--experimental-rerun", "x"], "--experimental-rerun: is not taken here; the same comm"),
        (["--shell-completion"], "--shell-completion: .* `sparsead completion bash`"),
        (["-sc", "install=bash"], "--shell-completion: .* `sparsead completion bash`"),
        (["-m", "--info"], "--info prints how .*: leave out -m"),
        (["-m", "--cfg", "job"], "--cfg prints the configuration of one run: leave out -m"),
        (["--run", "-m"], "--run trains one run: leave out -m"),
        (["--info", "all", "--cfg", "job"], "--cfg prints .*: leave out --info"),
        (["--resolve"], "--resolve: changes what --cfg prints; add --cfg job"),
        (["--package", "task"], "--package: changes what --cfg prints; add --cfg job"),
    ],
)
def test_a_flag_or_a_combination_that_is_not_taken_is_one_line(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["sparsead train"])
    with pytest.raises(ConfigError, match=message) as error:
        read_flags(words)
    assert "\n" not in str(error.value)


def test_flags_are_kept_apart_from_the_overrides() -> None:
    arguments, flags = read_flags(["seed=1", "--info", "config", "task=rte", "--info"])
    assert (arguments.overrides, flags) == (["seed=1", "task=rte"], ["--info", "config", "--info"])


def test_hydras_completion_is_that_of_a_command_of_one_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/sparsead-train"])
    assert read_flags(["-sc", "query=bash"])[1] == ["-sc"]
    with pytest.raises(ConfigError, match="--shell-completion: is not taken here"):
        read_flags(["-sc", "query=tcsh"])
