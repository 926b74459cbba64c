"""The estimated cost of a table, and its units."""

from __future__ import annotations

import pytest

from composing import compose
from sparsead.tables.estimate import TIMES, Throughput, format_amount


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0.4 s"), (42, "42 s"), (150, "2.5 min"), (3600, "1 h"), (443_000, "120 h")],
)
def test_a_duration_is_said_in_its_unit(seconds: float, said: str) -> None:
    assert format_amount(seconds, TIMES) == said


def test_the_time_counts_every_evaluation_and_the_scores_at_the_end() -> None:
    rate = Throughput(
        fixed=5, train=0.1, evaluate=0.01, score=2, examples=(100, 50), scored=(30, 7), stored=1
    )
    usual, often, limited = (
        compose("protocol.epochs=2", override)
        for override in ("seed=1", "protocol.evaluations=7", "task.limit=10")
    )
    assert rate.seconds(usual) == pytest.approx(5 + 2 * (10 + 0.5) + 2 * 37)
    assert rate.seconds(often) == pytest.approx(5 + 2 * (10 + 4 * 0.5) + 2 * 37)
    assert rate.seconds(limited) == pytest.approx(5 + 2 * (1 + 0.1) + 2 * 17)
