from __future__ import annotations

import pytest

from sparsead.plan import _TIMES, in_units


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0.4 s"), (42, "42 s"), (150, "2.5 min"), (3600, "1 h"), (443_000, "120 h")],
)
def test_a_duration_is_said_in_its_unit(seconds: float, said: str) -> None:
    assert in_units(seconds, _TIMES) == said
