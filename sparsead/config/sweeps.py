"""Sweeps: the runs of one command, whether its words, a flag or a file makes it a sweep.

Each run is one job, and all jobs are composed before the first one runs, so that mistakes are found
at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sparsead.config.compose import check_no_grid, compose_config, initialised, list_swept_keys
from sparsead.config.overrides import expand
from sparsead.errors import ConfigError

_PARAMS = "hydra.sweeper.params"


def is_sweep(config: DictConfig) -> bool:
    """Tell whether a configuration makes a command a sweep without -m, as search=grid does."""
    return config.hydra.mode is RunMode.MULTIRUN


def type_swept(overrides: Sequence[str], config: DictConfig) -> list[str]:
    """Return the overrides of a sweep, each value once, with those that its configuration sweeps.

    So `sparsity: 0.2,0.4` below `hydra.sweeper.params` in a file means the same as the override
    `sparsity=0.2,0.4`. A typed override of the same key replaces it. Sweepers that choose the
    values themselves, such as Optuna's, keep theirs.

    Args:
        overrides: overrides as Hydra takes them.
        config: what is composed from them, with Hydra's own keys.

    Raises:
        ConfigError: a value cannot be swept.
    """
    swept = OmegaConf.to_container(OmegaConf.create(config.hydra.sweeper.get("params") or {}))
    assert isinstance(swept, dict)
    if is_basic(config.hydra.sweeper):
        _refuse_intervals(overrides)
    if not (swept and is_basic(config.hydra.sweeper)):
        return drop_repeated_values(overrides)
    typed = {override.partition("=")[0].lstrip("+") for override in overrides}
    left = {key: value for key, value in swept.items() if str(key) not in typed}
    words = [f"{key!s}={'null' if value is None else value}" for key, value in left.items()]
    return drop_repeated_values([*expand(words), *overrides, f"{_PARAMS}=null"])


def _refuse_intervals(overrides: Sequence[str]) -> None:
    for parsed in OverridesParser.create().parse_overrides(list(overrides)):
        if parsed.is_sweep_override() and not parsed.is_discrete_sweep():
            raise ConfigError(
                f"{parsed.input_line}: an interval is for a sweeper that chooses values itself, "
                "such as hydra/sweeper=optuna; give a list, or range(start,stop,step)"
            )


def is_basic(sweeper: Mapping[str, object]) -> bool:
    """Tell whether a sweeper runs all combinations of the values.

    Another one, such as Optuna's, chooses later runs by the scores of earlier ones.

    Args:
        sweeper: the configuration of Hydra's sweeper.
    """
    return str(sweeper.get("_target_")).endswith("BasicSweeper")


def compose_jobs(overrides: Sequence[str]) -> Iterator[tuple[DictConfig, list[str]]]:
    """Yield the configuration of every job of a sweep, and the overrides that it is composed from.

    A sweep over a continuous interval yields nothing: the optimiser chooses its values later.

    Args:
        overrides: overrides as `sparsead train -m` takes them.

    Raises:
        ConfigError: an override is wrong, or a job defines a further sweep, as search=grid does.
        HydraException: an override cannot be read.
    """
    with initialised():
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(loader).parse_overrides(list(overrides))
        if any(o.is_sweep_override() and not o.is_discrete_sweep() for o in parsed):
            return
        swept = _swept_by_choices(parsed)
        given = {override.get_key_element(): _expanded(override) for override in parsed}
        for values in itertools.product(*given.values()):
            config = compose_config(values)
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
    """Return the keys that a sweeper which chooses the values itself is to sweep."""
    fixed = [o for o in overrides if not o.is_sweep_override()]
    choices = [o for o in fixed if "." not in o.get_key_element() or o.is_hydra_override()]
    return list_swept_keys(compose_config([str(choice.input_line) for choice in choices]))


def _expanded(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]
