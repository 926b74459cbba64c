"""The estimated cost of a table, and its units."""

from __future__ import annotations

import pytest

from sparsead.tables.estimate import TIMES, format_amount


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0.4 s"), (42, "42 s"), (150, "2.5 min"), (3600, "1 h"), (443_000, "120 h")],
)
def test_a_duration_is_said_in_its_unit(seconds: float, said: str) -> None:
    assert format_amount(seconds, TIMES) == said
