"""Hydra overrides as users type them: numbers given to `sparsity` mean `sparsity.ratio`."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException

from sparsead.errors import ConfigError


def expand_numeric_sparsity(arguments: Sequence[str]) -> list[str]:
    """Rewrite `sparsity=0.4` (numbers, lists and ranges of numbers) to `sparsity.ratio=0.4`.

    Hydra itself refuses a number as a choice of a config group. Flags, other keys and what Hydra
    cannot parse pass through unchanged, so that Hydra reports its own errors.

    Raises:
        ConfigError: a list mixes numbers with names of choices.
    """
    return [_expand(argument) for argument in arguments]


def _expand(argument: str) -> str:
    if not argument.startswith("sparsity="):
        return argument
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return argument
    numeric = [_is_number(value) for value in _values(override)]
    if all(numeric):
        return argument.replace("sparsity=", "sparsity.ratio=", 1)
    if any(numeric):
        raise ConfigError(f"{argument}: mixes numbers and names; sweep them one kind at a time")
    return argument


def _values(override: Override) -> Sequence[object]:
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return value.list
    if isinstance(value, RangeSweep):
        return [value.start, value.stop]
    return [value]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
