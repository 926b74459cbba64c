from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sparsead.adapters.bottleneck import BottleneckAdapter
from sparsead.adapters.contract import ADAPTERS
from sparsead.config.registry import Registry
from sparsead.errors import ConfigError
from sparsead.pruning.contract import PRUNERS
from sparsead.tasks.contract import TASKS


@pytest.mark.parametrize("registry", [ADAPTERS, PRUNERS, TASKS])
def test_an_unknown_method_names_those_there_are(registry: Registry[object]) -> None:
    with pytest.raises(ConfigError, match="no such choice"):
        registry.get("nonsense")


def test_a_users_own_function_is_found_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "my_pruners.py").write_text(
        "def largest(scoring, *, power: int = 1):\n    return power\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    largest: Callable[..., object] = PRUNERS.bind("my_pruners.largest", {"power": 3})
    assert largest(None) == 3
    with pytest.raises(ConfigError, match=r"did you mean pruner\.power"):
        PRUNERS.bind("my_pruners.largest", {"powr": 3})
    with pytest.raises(ConfigError, match=r"pruner\.power=x: must be a whole number"):
        PRUNERS.bind("my_pruners.largest", {"power": "x"})
    with pytest.raises(ConfigError, match="cannot be imported"):
        PRUNERS.get("my_pruners.absent")
    assert not caplog.text


def test_a_module_that_is_not_python_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_pruners.py").write_text("import math\ndef largest(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    said = r"^pruner\._target_=broken_pruners\.largest: .*\(broken_pruners\.py, line 2\)\)$"
    with pytest.raises(ConfigError, match=said):
        PRUNERS.get("broken_pruners.largest")


def test_a_function_that_cannot_be_called_so_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "called_pruners.py").write_text(
        "from __future__ import annotations\n"
        "def none(): ...\ndef needs(scoring, *, power): ...\n"
        "def typed(scoring: Scoring, *, power: float = 1.0): return power\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, reason in {
        "called_pruners.none": "cannot be called, too many positional arguments",
        "called_pruners.needs": "cannot be called, missing a required argument: 'power'",
        "builtins.max": "does not tell its arguments",
    }.items():
        with pytest.raises(ConfigError, match=f"pruner: {name} {reason}"):
            PRUNERS.bind(name, {})
    typed: Callable[..., object] = PRUNERS.bind("called_pruners.typed", {"power": 2.0})
    assert typed(None) == 2.0


def test_options_of_the_wrong_type_are_refused() -> None:
    options = {"bottleneck": 8, "sites": ["ffn_output"]}
    adapter = ADAPTERS.bind("bottleneck", options | {"scale": 2})()
    assert isinstance(adapter, BottleneckAdapter)
    assert adapter.scale == 2
    for wrong in ({"scale": "big"}, {"bottleneck": True}, {"sites": "ffn_output"}):
        with pytest.raises(ConfigError, match="must be"):
            ADAPTERS.bind("bottleneck", options | wrong)
