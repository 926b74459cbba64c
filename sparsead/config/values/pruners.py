"""The values that options of pruners may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sparsead.config.schema import check_minimum
from sparsead.config.values.contract import Options
from sparsead.errors import ConfigError, unknown

_MODES = ("eval", "train")
_FAITHFUL = ("paper",)
_SMALLEST_TEMPERATURE, _LARGEST_TEMPERATURE = 1e-6, 1e6
"""Limits of what logits are divided by: beyond them they become infinite or all alike in fp32."""
_MOST_PASSES = 10_000
"""Limit of rounds and draws: each computes a gradient, and the SynFlow paper uses 100 rounds."""


def check_snip(options: Options) -> None:
    """Check the mode of SNIP, its passes, and its deviation from its own equation."""
    mode, draws, faithful = (options[key] for key in ("mode", "draws", "faithful"))
    if mode not in _MODES:
        raise ConfigError(unknown("pruner.mode", mode, _MODES))
    if faithful is not None and faithful not in _FAITHFUL:
        raise ConfigError(unknown("pruner.faithful", faithful, ("null", *_FAITHFUL)))
    _check_passes("draws", draws)
    if mode == "eval" and draws != 1:
        raise ConfigError(
            f"pruner.draws={draws}: without dropout all passes are equal; set pruner.mode=train "
            "or pruner.draws=1"
        )


def check_temperature(options: Options) -> None:
    """Check what the logits are divided by."""
    temperature = options["temperature"]
    if not _SMALLEST_TEMPERATURE <= temperature <= _LARGEST_TEMPERATURE:
        raise ConfigError(
            f"pruner.temperature={temperature}: must be at least {_SMALLEST_TEMPERATURE:g} and at "
            f"most {_LARGEST_TEMPERATURE:g}"
        )


def check_rounds(options: Options) -> None:
    """Check the number of rounds of an iterative pruner."""
    _check_passes("rounds", options["rounds"])


def _check_passes(option: str, count: int) -> None:
    check_minimum(f"pruner.{option}", count, 1)
    if count > _MOST_PASSES:
        raise ConfigError(f"pruner.{option}={count}: must be at most {_MOST_PASSES}")


def check_groups(options: Options) -> None:
    """Check how many weights of how large a group are kept."""
    n, m = options["n"], options["m"]
    if not 1 <= n < m:
        raise ConfigError(f"pruner.n={n}: must be at least 1 and below pruner.m={m}")


CHECKS: Mapping[str, Sequence[Callable[[Options], None]]] = {
    "force": (check_rounds,),
    "grasp": (check_temperature,),
    "nm": (check_groups,),
    "snip": (check_snip,),
    "synflow": (check_rounds,),
}
"""By method, in the order in which the method itself checks its options."""
