"""Which cases are tested: those that are always, or all of them if SPARSEAD_EXHAUSTIVE is set."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from itertools import product
from typing import Any, TypeVar

import pytest

EXHAUSTIVE = bool(os.environ.get("SPARSEAD_EXHAUSTIVE"))

T = TypeVar("T")


def choose(cases: Iterable[T], always: Collection[T]) -> list[T]:
    """Return the cases that are always tested, or all of them."""
    return [case for case in cases if EXHAUSTIVE or case in always]


def spread(step: int, *axes: Iterable[Any]) -> list[Any]:
    """Return one combination in `step` of the values of some axes, or all combinations.

    Each value is in some combination with each value of any axis of `step` values or more.
    """
    return [
        pytest.param(*values, id="-".join(map(str, values)))
        for places in product(*map(enumerate, axes))
        for numbers, values in [zip(*places, strict=True)]
        if EXHAUSTIVE or sum(numbers) % step == 0
    ]
