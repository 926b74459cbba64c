"""Options that are certainly wrong are refused without torch, in the registries' own words."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from composing import ask_for
from sparsead.adapters.contract import ADAPTERS
from sparsead.config import launchers
from sparsead.config.registry import Registry
from sparsead.errors import ConfigError, DeviceError
from sparsead.pruning.contract import PRUNERS
from sparsead.runs.options import REQUIRED
from sparsead.tasks.contract import TASKS

REGISTRIES: dict[str, Registry[Any]] = {"adapter": ADAPTERS, "pruner": PRUNERS, "task": TASKS}
GIVEN = {"limit", "path", "files", "name", "max_length", "train", "validation", "test", "scoring"}
"""Parameters that are no options: fields of `TaskSpec`, and what a pruner scores."""


@pytest.mark.parametrize("group", REGISTRIES)
def test_the_listed_options_are_those_without_a_default(group: str) -> None:
    required = {
        name: {
            key
            for key, parameter in inspect.signature(entry).parameters.items()
            if parameter.default is parameter.empty and key not in GIVEN
        }
        for name, entry in REGISTRIES[group].entries().items()
    }
    listed = {name: set(options) for name, options in REQUIRED[group].items()}
    assert listed == required, "see sparsead/runs/options.py"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("+adapter.bottlneck=3", "adapter.bottlneck: no such key; did you mean adapter.bottleneck"),
        ("pruner=random +pruner.rounds=3", "pruner.rounds: no such key"),
        ("pruner=force pruner.rounds=few", "pruner.rounds=few: must be a whole number"),
        ("pruner=force pruner.rounds=true", "pruner.rounds=True: must be a whole number"),
        ("pruner=grasp pruner.temperature=hot", "pruner.temperature=hot: must be a number"),
        ("adapter.dropout=x", "adapter.dropout=x: must be a number"),
        ("adapter=lora adapter.init=3", "adapter.init=3: must be a text"),
        ("+task.foo=1", "task.foo: no such key"),
    ],
)
def test_a_wrong_option_is_refused_as_the_registry_refuses_it(overrides: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ask_for(*overrides.split())
    assert str(refused.value).startswith(message)


def test_whole_numbers_are_numbers_and_own_methods_are_left_to_the_registries() -> None:
    ask_for("adapter.dropout=0", "pruner=grasp", "pruner.temperature=2")
    ask_for("adapter.method=my_package.Mine", "+adapter.anything=1")


def test_a_gpu_that_is_certainly_not_there_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(launchers, "GPU_DRIVERS", (tmp_path / "none",))
    with pytest.raises(DeviceError, match="device=cuda: there is no CUDA device here"):
        launchers.check_gpu("cuda")
    launchers.check_gpu("auto")
    monkeypatch.setattr(launchers, "GPU_DRIVERS", (tmp_path,))
    launchers.check_gpu("cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceError):
        launchers.check_gpu("cuda")


@pytest.mark.slow
def test_a_refusal_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from sparsead.cli import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "train", "+adapter.bottlneck=3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "did you mean adapter.bottleneck?" in done.stderr
    assert list(tmp_path.iterdir()) == []
