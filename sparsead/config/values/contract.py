"""What the checks of options share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Options = Mapping[str, Any]
"""A method's options by name, those with a default included."""


def check_all(checks: Iterable[Callable[[Options], None]], options: Options) -> None:
    """Call checks of options, one after the other."""
    for check in checks:
        check(options)
