"""Adapters pruned at initialisation: train them, compare them, trust the answer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsead.assembly.trained import load
    from sparsead.pruning.prune import prune
    from sparsead.report.frames import runs, table
    from sparsead.runs.query import predictions
    from sparsead.train import train_overrides as train

__all__ = ["__version__", "load", "predictions", "prune", "runs", "table", "train"]
__version__ = "0.1.0"


def __dir__() -> list[str]:
    """Return the public names; those of this file's own imports are left out."""
    return [*__all__, "__doc__", "__file__", "__name__", "__path__"]


def __getattr__(name: str) -> Any:
    """Import these on first use: they need torch or pandas, which the light commands avoid."""
    if name in __all__:
        from sparsead.errors import refuse_windows

        refuse_windows()
    if name == "prune":
        from sparsead.pruning.prune import prune

        return prune
    if name == "load":
        from sparsead.assembly.trained import load

        return load
    if name == "predictions":
        from sparsead.runs.query import predictions

        return predictions
    if name == "table":
        from sparsead.report.frames import table

        return table
    if name in ("runs", "train"):  # the package and the module of these names can be called
        return import_module(f"sparsead.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
