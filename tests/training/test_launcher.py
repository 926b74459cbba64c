"""Variables of `accelerate launch` that would change a run behind the back of its record."""

from __future__ import annotations

from pathlib import Path

import pytest

from composing import ask_for
from sparsead.errors import ConfigError
from sparsead.train import train
from sparsead.training.launcher import check_launcher


@pytest.mark.parametrize(
    ("name", "value", "contradicted"),
    [
        ("MIXED_PRECISION", "bf16", "precision=fp32"),
        ("DYNAMO_BACKEND", "INDUCTOR", "protocol.torch_compile=false"),
        ("USE_FSDP", "true", "masks do not support"),
    ],
)
def test_a_variable_that_contradicts_the_run_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, contradicted: str
) -> None:
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    outputs = tmp_path / "outputs"
    request = ask_for("backbone=tiny-bert", "device=cpu", "precision=fp32", f"outputs={outputs}")
    with pytest.raises(ConfigError, match=f"^ACCELERATE_{name}={value}: .*{contradicted}"):
        train(request)
    assert not outputs.exists()


def test_what_accelerate_launch_sets_by_default_agrees_with_every_run() -> None:
    spec = ask_for("backbone=tiny-bert", "device=cpu", "precision=fp32").spec
    usual = {"MIXED_PRECISION": "no", "DYNAMO_BACKEND": "NO", "USE_CPU": "False"}
    named = {f"ACCELERATE_{name}": value for name, value in usual.items()}
    check_launcher(spec, "cuda", named)
    check_launcher(spec, "cpu", named | {"ACCELERATE_USE_CPU": "True"})
    with pytest.raises(ConfigError, match=r"^ACCELERATE_USE_CPU=True: would replace device=cuda"):
        check_launcher(spec, "cuda", named | {"ACCELERATE_USE_CPU": "True"})
