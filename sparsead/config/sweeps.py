"""The jobs of a sweep: each once, and all composed before the first one runs to find mistakes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig

from sparsead.config.choices import search_path
from sparsead.config.compose import check_no_grid, initialised, list_swept_keys


def compose_jobs(overrides: Sequence[str]) -> Iterator[tuple[DictConfig, list[str]]]:
    """Yield the configuration of every job of a sweep, and the overrides that it is composed from.

    A sweep over a continuous interval yields nothing: the optimiser chooses its values later.

    Args:
        overrides: overrides as `sparsead train -m` takes them.

    Raises:
        ConfigError: a job defines a further sweep, as search=grid does.
        HydraException: an override is wrong.
    """
    with initialised():
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(loader).parse_overrides(list(overrides))
        if any(o.is_sweep_override() and not o.is_discrete_sweep() for o in parsed):
            return
        swept = _swept_by_choices(parsed)
        for values in itertools.product(*(_expanded(override) for override in parsed)):
            words = [*search_path(), *values]
            config = hydra.compose("train", words, return_hydra_config=True)
            check_no_grid(config, [*values, *swept])
            yield config, list(values)


def drop_repeated_values(arguments: Sequence[str]) -> list[str]:
    """Leave out values that a list of a sweep has before, such as the second 1 of `seed=1,1,2`.

    Their runs are the same, and processes that begin them together would claim one run twice. Two
    spellings of a number are one value. What Hydra cannot read is returned unchanged.
    """
    return [_without_repeats(argument) for argument in arguments]


def _without_repeats(argument: str) -> str:
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return argument
    sweep = override.value()
    if not isinstance(sweep, ChoiceSweep) or sweep.shuffle:
        return argument
    written = [*override.sweep_string_iterator()]
    unique: dict[object, str] = {}
    for value, text in zip(sweep.list, written, strict=True):
        unique.setdefault(_meant(value), text)
    if len(unique) == len(written):
        return argument
    return f"{argument.partition('=')[0]}={','.join(unique.values())}"


def _meant(value: object) -> tuple[str, object]:
    """Return what the spellings of one value have in common."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number", value
    return "text", value.text if isinstance(value, QuotedString) else str(value)


def _swept_by_choices(overrides: Sequence[Override]) -> list[str]:
    """Return the keys that the chosen configurations themselves sweep, as search=grid does."""
    fixed = [o for o in overrides if not o.is_sweep_override()]
    choices = [o for o in fixed if "." not in o.get_key_element() or o.is_hydra_override()]
    lines = [str(choice.input_line) for choice in choices]
    return list_swept_keys(
        hydra.compose("train", [*search_path(), *lines], return_hydra_config=True)
    )


def _expanded(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]
