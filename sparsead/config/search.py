"""A search for the best point of a grid of learning rates, numbers of epochs and batch sizes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from omegaconf import DictConfig

from sparsead.config.choices import find_choice, list_choices, read_choice
from sparsead.config.protocol import ProtocolSpec, check_rate
from sparsead.config.quoting import overridden_key, unquote_values
from sparsead.config.schema import check_minimum, read_group, to_dataclass
from sparsead.errors import ConfigError, unknown, unknown_key

GRID = ("learning_rate", "epochs", "batch_size")
"""The keys of `protocol` over which the paper searches a grid."""


class Point(NamedTuple):
    """One point of a grid."""

    learning_rate: float
    epochs: int
    batch_size: int

    def __str__(self) -> str:
        return f"{self.learning_rate:g}, {self.epochs}, {self.batch_size}"

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides of `sparsead train` that set this point."""
        return tuple(f"protocol.{key}={value!r}" for key, value in self._asdict().items())

    def applied(self, protocol: ProtocolSpec) -> ProtocolSpec:
        """Return the protocol at this point.

        Raises:
            ConfigError: a value is out of range.
        """
        return replace(protocol, **self._asdict())


@dataclass
class SearchSpec:
    """The search space, which is a grid of points, and the rungs at which points compete.

    Attributes:
        name: grid or asha.
        learning_rate: learning rates of the grid.
        epochs: numbers of epochs of the grid.
        batch_size: batch sizes of the grid.
        first_rung: asha: number of epochs before the first decision.
        reduction: asha: at each rung one in `reduction` points continues; the next rung comes after
            `reduction` times as many epochs.
    """

    name: str
    learning_rate: list[float]
    epochs: list[int]
    batch_size: list[int]
    first_rung: int = 1
    reduction: int = 4

    def __post_init__(self) -> None:
        for key in GRID:
            values = getattr(self, key)
            if not values:
                raise ConfigError(f"search.{key}=[]: must be a list of at least one value")
            if twice := [value for value in values if values.count(value) > 1]:
                raise ConfigError(f"search.{key}={values}: has {twice[0]:g} twice")
        for rate in self.learning_rate:
            check_rate("search.learning_rate", rate)
        for epochs in self.epochs:
            check_minimum("search.epochs", epochs, 1)
        for size in self.batch_size:
            check_minimum("search.batch_size", size, 1)
        for key, low in (("first_rung", 1), ("reduction", 2)):
            if getattr(self, key) < low:
                raise ConfigError(f"search.{key}={getattr(self, key)}: must be at least {low}")

    @classmethod
    def from_config(cls, config: DictConfig) -> SearchSpec:
        """Read the section `search` of a composed configuration.

        Raises:
            ConfigError: a value is of the wrong type, empty or out of range.
        """
        return read_group(config, "search", cls)

    @property
    def points(self) -> list[Point]:
        """All points of the grid."""
        return [Point(*values) for values in itertools.product(*(getattr(self, k) for k in GRID))]


def check_comparable(protocol: ProtocolSpec) -> None:
    """Refuse a protocol by which points cannot be compared while they train, as search=asha does.

    Raises:
        ConfigError: no selection split is held out, or the protocol ends runs itself.
    """
    if not protocol.selection:
        raise ConfigError(
            "protocol.selection=0: search=asha compares points on a selection split, a held-out "
            "part of the training data; set protocol.selection=0.1"
        )
    if protocol.patience is not None:
        raise ConfigError(
            f"protocol.patience={protocol.patience}: search=asha itself stops the "
            "points that do worse; leave it out"
        )
    if protocol.max_steps is not None:
        raise ConfigError(
            f"protocol.max_steps={protocol.max_steps}: search=asha compares points after whole "
            "epochs; leave it out"
        )


def refuse_point(overrides: Sequence[str]) -> None:
    """Refuse `protocol.KEY=VALUE` for a key of the grid beside search=asha, which replaces it.

    In a table these words narrow the grid, whose values one run of `sparsead train` cannot have.

    Args:
        overrides: the overrides of one run.

    Raises:
        ConfigError: the message says how the grid is narrowed.
    """
    for override in overrides:
        group, _, key = overridden_key(override).partition(".")
        if group == "protocol" and key in GRID:
            value = override.partition("=")[2]
            raise ConfigError(
                f"{override}: search=asha tries the values of search.{key}; type "
                f"search.{key}=[{value}]"
            )


def read_search(name: str, changes: Mapping[str, str]) -> SearchSpec:
    """Read conf/search/NAME.yaml, whose grid may be narrowed or replaced.

    Args:
        name: a choice of the group `search`.
        changes: values by key as a user types them: `1e-5,2e-5` or `[1e-5,2e-5]`.

    Raises:
        ConfigError: there is no such search or key, its file defines no search, or a value is of
            the wrong type or range.
    """
    if name not in list_choices("search"):
        raise ConfigError(unknown("search", name, list_choices("search")))
    own = _read_space(name)
    allowed = (*GRID, "first_rung", "reduction") if name == "asha" else GRID
    for key in changes:
        if key not in allowed:
            raise ConfigError(unknown_key(f"search.{key}", allowed))
    typed = {key: _listed(value) if key in GRID else value for key, value in changes.items()}
    values: dict[str, Any] = {**own, "name": name, **typed}
    return to_dataclass("search", SearchSpec, values)


def _read_space(name: str) -> Mapping[str, Any]:
    """Return the values by key of conf/search/NAME.yaml, whether its own or those of a sweep."""
    content = read_choice("search", name)
    own = content.get("search")
    if isinstance(own, Mapping):
        return own
    params: Any = content
    for key in ("hydra", "sweeper", "params"):
        params = params.get(key) if isinstance(params, Mapping) else None
    if not isinstance(params, Mapping):
        file = find_choice("search", name)
        raise ConfigError(f"{file}: must have keys below `search` or `hydra.sweeper.params`")
    return _swept(params)


def _swept(params: Mapping[Any, Any]) -> dict[str, list[str]]:
    """Return a sweep of Hydra's, such as {protocol.epochs: 5,10}, as lists by key."""
    known = {f"protocol.{key}": key for key in GRID}
    for key in params:
        if key not in known:
            raise ConfigError(unknown_key(f"hydra.sweeper.params.{key}", known))
    return {known[key]: _listed(str(values)) for key, values in params.items()}


def _listed(value: str) -> list[str]:
    inner = value.strip().removeprefix("[").removesuffix("]")
    return [each.strip() for each in inner.split(",") if each.strip()]


def take_search(overrides: Sequence[str]) -> tuple[SearchSpec | None, list[str]]:
    """Split the overrides of a table into its search and the overrides of its runs.

    Where there is a search, `search.KEY=VALUES`, and `protocol.KEY=VALUES` for the keys of the
    grid, narrow its grid; without one, all overrides are those of the runs. A key with a `+` or
    `++` before it is the same key.

    Raises:
        ConfigError: the search or a value is wrong, or both forms of a key are given.
    """
    typed = [(o.partition("=")[0].lstrip("+"), o.partition("=")[2], o) for o in overrides]
    names = [unquote_values(value) for key, value, _ in typed if key == "search"]
    if not names or names[-1] == "null":
        for key, _, override in typed:
            if key.startswith("search."):
                raise ConfigError(f"{override}: works only with search=grid or search=asha")
        return None, [override for key, _, override in typed if key != "search"]
    grid = {f"{group}.{key}" for group in ("search", "protocol") for key in GRID}
    changes: dict[str, str] = {}
    kept = []
    for name, value, override in typed:
        key = name.partition(".")[2]
        if name in grid or name.startswith("search."):
            if key in changes:
                raise ConfigError(f"{override}: the search has {key}={changes[key]} already")
            changes[key] = value
        elif name != "search":
            kept.append(override)
    return read_search(names[-1], changes), kept
