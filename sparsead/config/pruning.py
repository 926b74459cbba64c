"""The config groups `pruner` and `sparsity`: which weights are removed, and how many."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from sparsead.config.schema import check_choice, check_minimum, check_name
from sparsead.errors import ConfigError

SCOPES = ("global", "tensor")
CONTROLS = ("none", "shuffle", "reinit", "invert")
_SHARE = re.compile(r"\d{1,9}/\d{1,9}|0?\.\d{1,9}", re.ASCII)
MINIMUM_KEPT = 0.01
"""The default of `pruner.minimum_kept`."""


@dataclass
class PrunerSpec:
    """A pruner, the scope within which its scores are ranked, and its own keys.

    `density` is the share of weights kept, such as 2/4, of a pruner that supports only that share;
    None for a pruner that supports any. `control` is a sanity check of the pruner's choice of
    weights (see `sparsead.pruning.controls`), and `controls` lists those that it supports.
    """

    name: str
    method: str
    scope: str = "global"
    probe: bool = False
    minimum_kept: float = MINIMUM_KEPT
    density: str | None = None
    control: str = "none"
    controls: list[str] = field(default_factory=lambda: list(CONTROLS))
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("pruner.name", self.name)
        check_choice("pruner.scope", self.scope, SCOPES)
        check_choice("pruner.control", self.control, CONTROLS)
        if self.control not in self.controls:
            raise ConfigError(
                f"pruner.control={self.control}: pruner={self.name} supports "
                f"{', '.join(self.controls)}"
            )
        if not 0 <= self.minimum_kept < 1:
            raise ConfigError(
                f"pruner.minimum_kept={self.minimum_kept:g}: must be at least 0 and below 1"
            )
        self.check_sparsity(0)

    def check_sparsity(self, sparsity: float) -> None:
        """Refuse a sparsity that the pruner does not support; 0 is always supported.

        Raises:
            ConfigError: the sparsity is not supported, or `density` is not a share.
        """
        if self.density is None:
            return
        share = _read_share(self.density)
        if not 0 < share < 1:
            raise ConfigError(
                f"pruner.density={self.density}: must be a share such as 2/4, above 0 and below 1"
            )
        only = float(1 - share)
        if sparsity > 0 and not math.isclose(sparsity, only, abs_tol=1e-9):
            raise ConfigError(
                f"sparsity.ratio={sparsity:g}: pruner={self.name} keeps {self.density} of the "
                f"weights; choose sparsity={only}"
            )


def _read_share(text: str) -> Fraction:
    """Return a share such as 2/4 or 0.5; 0 for any other text, also for a power of ten.

    A record may be a stranger's, and its 1e-999999999 would be computed for hours.
    """
    try:
        return Fraction(text) if _SHARE.fullmatch(text) else Fraction(0)
    except ZeroDivisionError:
        return Fraction(0)


@dataclass
class SparsitySpec:
    """The share of the prunable weights to remove, and a factor on the bottleneck.

    Without a ratio, 1 - 1 / scale is removed, so that as many weights stay as without the factor.
    """

    ratio: float | None
    scale: float

    def __post_init__(self) -> None:
        check_minimum("sparsity.scale", self.scale, 1)
        if self.ratio is None:
            self.ratio = 1 - 1 / self.scale
        if not 0 <= self.ratio < 1:
            percent = f"; did you mean {self.ratio / 100:g}?" if 1 < self.ratio < 100 else ""
            raise ConfigError(
                f"sparsity.ratio={self.ratio:g}: the share removed must be at least 0 and "
                f"below 1{percent}"
            )
