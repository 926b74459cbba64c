"""How the processes of the tests collect garbage: rarely, and not what was imported."""

from __future__ import annotations

import gc

_NEW_OBJECTS = 50_000
"""So many new objects lead to a collection. By default 700 do, and a composition makes far more."""


def collect_rarely() -> None:
    """Exclude all present objects from garbage collections, and collect others rarely.

    A collection would look at the million objects of the packages and, in a process that is forked
    from this one, copy the memory that they share.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 50)
