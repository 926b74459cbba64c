"""Scores, differences and their intervals in two decimals, among which no 0 has a minus sign."""

from __future__ import annotations


def format_signed(difference: float) -> str:
    """Return a difference with its sign; one that rounds to 0 is +0.00 and never -0.00."""
    return f"{difference:+z.2f}"


def format_interval(interval: tuple[float, float]) -> str:
    """Return the ends of a difference's interval in brackets."""
    low, high = interval
    return f"[{format_signed(low)}, {format_signed(high)}]"


def format_score(score: float) -> str:
    """Return a score in percent without a sign unless it is below 0; some correlations are."""
    return f"{score:z.2f}"
