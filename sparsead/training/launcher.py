"""Variables by which `accelerate launch` would replace what a run's own keys say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sparsead.config.run import RunSpec
from sparsead.errors import ConfigError

_SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG")
"""Ways in which accelerate divides a model among processes; masks need whole parameters."""
_FALSE = ("0", "false", "no", "off", "n", "f")


@dataclass(frozen=True)
class _Variable:
    """A variable of accelerate that transformers' Trainer or accelerate read by themselves.

    Attributes:
        name: its name.
        allowed: the values, in small letters, with which the run is what its keys say.
        advice: what to do about another value.
    """

    name: str
    allowed: tuple[str, ...]
    advice: str


def check_launcher(
    spec: RunSpec, device: str, environment: Mapping[str, str] | None = None
) -> None:
    """Refuse a variable that would replace a key of the run, whose record would not say so.

    Args:
        spec: the run.
        device: `cpu`, `cuda` or `mps`.
        environment: the environment's variables; None takes those of this process.

    Raises:
        ConfigError: the message names the variable, its value and what to do.
    """
    environment = os.environ if environment is None else environment
    for variable in _variables(spec, device):
        value = environment.get(variable.name, "")
        if value and value.lower() not in variable.allowed:
            raise ConfigError(f"{variable.name}={value}: {variable.advice}")


def _variables(spec: RunSpec, device: str) -> Iterator[_Variable]:
    launch = "use `accelerate launch"
    yield _Variable(
        "ACCELERATE_MIXED_PRECISION",
        ("no", spec.precision),
        f"would replace precision={spec.precision}; {launch} --mixed_precision no`, and choose "
        "precision=bf16 or fp32 for the run",
    )
    yield _Variable(
        "ACCELERATE_DYNAMO_BACKEND",
        ("no", "inductor") if spec.protocol.torch_compile else ("no",),
        f"would replace protocol.torch_compile={str(spec.protocol.torch_compile).lower()}; "
        f"{launch} --dynamo_backend no`, and choose protocol.torch_compile=true to compile",
    )
    yield _Variable(
        "ACCELERATE_USE_CPU",
        _FALSE if device != "cpu" else (*_FALSE, "1", "true", "yes", "on", "y", "t"),
        f"would replace device={device}; choose device=cpu, or unset the variable",
    )
    for name in _SHARDED:
        yield _Variable(
            f"ACCELERATE_USE_{name}",
            _FALSE,
            f"would divide the model among processes, which masks do not support; {launch} "
            "--multi_gpu`, or unset the variable",
        )
