"""Adapters pruned at initialisation: train them, compare them, trust the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsead.pruning.prune import prune

__all__ = ["__version__", "prune"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `prune` when it is first used, so that the command line starts without torch."""
    if name == "prune":
        from sparsead.pruning.prune import prune

        return prune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
