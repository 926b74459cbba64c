"""Runs on disk: identity, claim, record, failure and index; nothing here imports torch.

The package itself can be called: `sparsead.runs()` returns the runs as a pandas frame.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Runs(ModuleType):
    """A package that can be called as the function of its name is."""

    def __call__(self, *filters: str, **options: Any) -> Any:
        """Return `sparsead.report.frames.runs` of the arguments."""
        return import_module("sparsead.report.frames").runs(*filters, **options)


sys.modules[__name__].__class__ = _Runs
