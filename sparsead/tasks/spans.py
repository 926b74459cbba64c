"""The best answers to a question, from the logits of its features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_FAR = 1e9


class Span(NamedTuple):
    """The characters from `start` up to `end` of a context, and the sum of the two logits."""

    start: int
    end: int
    score: float


def feature_spans(
    starts: Sequence[int],
    ends: Sequence[int],
    start_logits: NDArray[Any],
    end_logits: NDArray[Any],
    n_best: int,
    longest: int,
) -> list[Span]:
    """Return the best spans of one feature that have at most `longest` tokens, the best first.

    Args:
        starts: (tokens,), the first character of each token of the context in this feature.
        ends: (tokens,), the character after the last one of each of these tokens.
        start_logits: (tokens,), the logits of the answer's first token; values that are not finite
            count as the lowest.
        end_logits: (tokens,), the logits of the answer's last token.
        n_best: the greatest number of spans to return.
        longest: the greatest number of tokens in a span.
    """
    if not len(starts):
        return []
    opening, closing = _finite(start_logits), _finite(end_logits)
    padded = np.pad(closing, (0, longest - 1), constant_values=-np.inf)
    scores = (opening[:, None] + sliding_window_view(padded, longest)).ravel()
    best = np.argpartition(-scores, min(n_best, len(scores)) - 1)[:n_best]
    best = best[np.argsort(-scores[best], kind="stable")]
    first, extra = np.divmod(best[np.isfinite(scores[best])], longest)
    return [
        Span(starts[i], ends[i + more], float(opening[i] + closing[i + more]))
        for i, more in zip(first.tolist(), extra.tolist(), strict=True)
    ]


def join_spans(spans: Iterable[Span], n_best: int) -> list[Span]:
    """Return the best distinct spans of a context, best first, from the spans of its features."""
    best: dict[tuple[int, int], Span] = {}
    for span in sorted(spans, key=lambda span: -span.score):
        best.setdefault((span.start, span.end), span)
    return list(best.values())[:n_best]


def probabilities(spans: Sequence[Span]) -> list[float]:
    """Return the softmax of the scores over these spans."""
    scores = np.array([span.score for span in spans])
    weights = np.exp(scores - scores.max(initial=-np.inf))
    return [float(weight) for weight in weights / weights.sum()]


def _finite(logits: NDArray[Any]) -> NDArray[Any]:
    return np.nan_to_num(logits.astype(np.float64), nan=-_FAR, posinf=_FAR, neginf=-_FAR)
