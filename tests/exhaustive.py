"""Which cases are tested: those that are always, or all of them if SPARSEAD_EXHAUSTIVE is set."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import TypeVar

EXHAUSTIVE = bool(os.environ.get("SPARSEAD_EXHAUSTIVE"))

T = TypeVar("T")


def choose(cases: Iterable[T], always: Collection[T]) -> list[T]:
    """Return the cases that are always tested, or all of them."""
    return [case for case in cases if EXHAUSTIVE or case in always]


def one_in(step: int, cases: Iterable[T]) -> list[T]:
    """Return one case in `step`, beginning with the first, or all of them."""
    return [*cases][:: 1 if EXHAUSTIVE else step]
