"""The Trainer's learning-rate schedules, and the options that each of them takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsead.config.schema import check_choice, check_minimum
from sparsead.errors import ConfigError, unknown_key, wrong_type

_NUMBER, _COUNT, _WORD = "float", "int", "str"
_TO_LEAST = {"num_cycles": _NUMBER, "min_lr": _NUMBER, "min_lr_rate": _NUMBER}

SCHEDULES: Mapping[str, Mapping[str, str]] = {
    "linear": {},
    "cosine": {"num_cycles": _NUMBER},
    "cosine_with_restarts": {"num_cycles": _NUMBER},
    "polynomial": {"lr_end": _NUMBER, "power": _NUMBER},
    "constant": {},
    "constant_with_warmup": {},
    "inverse_sqrt": {"timescale": _COUNT},
    "reduce_lr_on_plateau": {
        **{"mode": _WORD, "factor": _NUMBER, "patience": _COUNT, "threshold": _NUMBER},
        **{"threshold_mode": _WORD, "cooldown": _COUNT, "min_lr": _NUMBER, "eps": _NUMBER},
    },
    "cosine_with_min_lr": _TO_LEAST,
    "cosine_warmup_with_min_lr": {**_TO_LEAST, "warmup_lr_rate": _NUMBER},
    "warmup_stable_decay": {
        **{"num_decay_steps": _COUNT, "num_stable_steps": _COUNT, "warmup_type": _WORD},
        **{"decay_type": _WORD, "min_lr_ratio": _NUMBER, "num_cycles": _NUMBER},
    },
}
"""The Trainer's name of each schedule → its options and their types; a test compares them."""

_SHAPES = ("linear", "cosine", "1-sqrt")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "mode": ("min", "max"),
    "threshold_mode": ("rel", "abs"),
    "warmup_type": _SHAPES,
    "decay_type": _SHAPES,
}
_LEAST = {
    **{"timescale": 1, "num_decay_steps": 1, "num_stable_steps": 0, "min_lr": 0, "lr_end": 0},
    **{"patience": 0, "cooldown": 0, "threshold": 0, "eps": 0},
}
_POSITIVE = ("num_cycles", "power")
_SHARES = ("min_lr_rate", "min_lr_ratio", "warmup_lr_rate", "factor")
_TYPES = {_NUMBER: (int, float), _COUNT: (int,), _WORD: (str,)}
_GIVEN = "protocol.scheduler_options"


def check_schedule(name: str, options: Mapping[str, Any], rate: float) -> None:
    """Refuse a schedule that does not exist, and options that it cannot be made with.

    Args:
        name: the Trainer's name of the schedule.
        options: its keyword arguments.
        rate: the highest learning rate.

    Raises:
        ConfigError: the message names the option and what is allowed.
    """
    check_choice("protocol.scheduler", name, tuple(SCHEDULES))
    allowed = SCHEDULES[name]
    for key, value in options.items():
        if key not in allowed:
            if not allowed:
                raise ConfigError(f"{_GIVEN}.{key}: protocol.scheduler={name} takes no options")
            raise ConfigError(unknown_key(f"{_GIVEN}.{key}", allowed))
        if type(value) not in _TYPES[allowed[key]]:
            raise ConfigError(wrong_type(f"{_GIVEN}.{key}", value, allowed[key]))
        if key in _CHOICES:
            check_choice(f"{_GIVEN}.{key}", value, _CHOICES[key])
        if key in _LEAST:
            check_minimum(f"{_GIVEN}.{key}", value, _LEAST[key])
        if key in _POSITIVE and value <= 0:
            raise ConfigError(f"{_GIVEN}.{key}={value:g}: must be above 0")
        if key in _SHARES and not 0 <= value <= 1:
            raise ConfigError(f"{_GIVEN}.{key}={value:g}: must be from 0 to 1")
    _check_together(name, options, rate)


def _check_together(name: str, options: Mapping[str, Any], rate: float) -> None:
    """Refuse options that are missing, or of which one excludes another."""
    if name == "warmup_stable_decay" and "num_decay_steps" not in options:
        raise ConfigError(
            f"protocol.scheduler={name}: needs the number of steps in which the rate falls; add "
            f"+{_GIVEN}.num_decay_steps=100"
        )
    for key in ("lr_end", "min_lr"):
        end = options.get(key, 0)
        if end >= rate:
            raise ConfigError(
                f"{_GIVEN}.{key}={end:g}: must be below protocol.learning_rate={rate:g}"
            )
    if "min_lr_rate" in SCHEDULES[name] and len(options.keys() & {"min_lr", "min_lr_rate"}) != 1:
        raise ConfigError(
            f"protocol.scheduler={name}: needs the rate at which it ends; add one of "
            f"+{_GIVEN}.min_lr=1e-6 and +{_GIVEN}.min_lr_rate=0.1"
        )
