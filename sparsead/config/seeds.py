"""The seeds of a run: of its training, its initial weights and its mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparsead.errors import ConfigError

PARTS = ("data", "init", "mask")
"""What has a seed of its own: the key of the part `data` is `seed_data`."""

SEED_KEYS = ("seed", *(f"seed_{part}" for part in PARTS))


MOST_SEEDS = 1000
"""The most seeds of a table; more would only be a slip of the keyboard."""

LARGEST = 2**32 - 1
"""The largest seed that NumPy's generators take."""


def check_seed(key: str, seed: int | None) -> None:
    """Refuse a seed that not every generator of random numbers takes; None is no seed.

    Raises:
        ConfigError: the message names the key.
    """
    if seed is not None and not 0 <= seed <= LARGEST:
        raise ConfigError(f"{key}={seed}: must be a whole number from 0 to {LARGEST}")


def check_seed_count(seeds: int) -> None:
    """Refuse a number of seeds that nobody may ask for in a table.

    Raises:
        ConfigError: it is too small or too large.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise _seeds_error(seeds)


def read_seeds(given: str) -> int:
    """Return a number of seeds that was typed.

    Raises:
        ConfigError: it is no whole number, or too small or too large.
    """
    if not given.isdecimal() or len(given) > len(str(MOST_SEEDS)):
        raise _seeds_error(given)
    check_seed_count(seeds := int(given))
    return seeds


def _seeds_error(given: object) -> ConfigError:
    return ConfigError(f"seeds={given}: must be a whole number, from 1 to {MOST_SEEDS:,}")


@dataclass(frozen=True)
class Seeds:
    """The seed of each part of a run that is random. Runs of equal seeds have equal results.

    Attributes:
        data: seed of the order of the training examples, and of dropout.
        init: seed of the initial weights of the head and the adapter.
        mask: seed of all that a mask depends on besides the weights: the examples that are scored,
            random scores, the order of equal scores, and shuffled masks.
    """

    data: int
    init: int
    mask: int

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Seeds:
        """Return the seeds of a run's configuration; a part without a seed has that of the run.

        A dense run, with `sparsity` 0, has no mask, so that `seed_mask` does not count, unless its
        adapter has a `budget`: then a pruner chooses the weights that train.
        """
        own = {part: config.get(f"seed_{part}") for part in PARTS}
        options = config.get("adapter", {}).get("options", {})
        if config.get("sparsity") == 0 and options.get("budget") is None:
            own["mask"] = own["init"]
        return cls(**{p: config["seed"] if seed is None else seed for p, seed in own.items()})

    @property
    def shared(self) -> int | None:
        """The seed that all parts share; None if they differ."""
        return self.data if self.data == self.init == self.mask else None

    def __str__(self) -> str:
        """Return the shared seed, or the seeds of data, init and mask, such as 1-2-3."""
        if self.shared is not None:
            return str(self.shared)
        return f"{self.data}-{self.init}-{self.mask}"
