"""The variance components of a Latin square, against closed forms and simulated effects."""

from __future__ import annotations

import numpy as np
import pytest

from sparsead.config.seeds import Seeds
from sparsead.report.variance import decompose, latin_square

PARTS = ("data", "init", "mask")


def test_each_pair_of_seeds_occurs_once() -> None:
    square = latin_square(5, masked=True)
    assert len(square) == 25
    for one, other in (("data", "init"), ("data", "mask"), ("init", "mask")):
        assert len({(getattr(s, one), getattr(s, other)) for s in square}) == 25
    assert all(seeds.mask == seeds.init for seeds in latin_square(4, masked=False))


def test_an_effect_without_noise_is_found_whole() -> None:
    scores = {seeds: seeds.init + 0.3 for seeds in latin_square(5, masked=True)}
    data, init, mask, rest = decompose(scores, PARTS)
    assert init.variance == pytest.approx(np.var([1, 2, 3, 4, 5], ddof=1))
    assert [each.variance for each in (data, mask, rest)] == [0, 0, 0]
    assert (data.p, init.p, mask.p) == (1, 0, 1)


def test_equal_scores_show_no_influence() -> None:
    found = decompose(dict.fromkeys(latin_square(3, masked=True), 52.08), PARTS)
    assert [(each.variance, each.p) for each in found] == [(0, 1), (0, 1), (0, 1), (0, None)]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [PARTS, PARTS[:2]])
def test_estimates_are_unbiased_and_tests_keep_their_level(parts: tuple[str, ...]) -> None:
    true = {"data": 1.0, "init": 4.0, "mask": 0.0}
    draws = np.random.default_rng(0)
    square = latin_square(5, masked=len(parts) == 3)
    found = []
    for _ in range(2000):
        effects = {part: draws.normal(0, true[part] ** 0.5, 6) for part in parts}
        pairs = draws.normal(0, 0.5, (6, 6))  # an interaction of data and init
        scores = {s: _score(s, effects) + pairs[s.data, s.init] + draws.normal() for s in square}
        found.append([(each.variance, each.p) for each in decompose(scores, parts)])
    variances = np.mean([[variance for variance, _ in each] for each in found], axis=0)
    assert variances == pytest.approx([*(true[part] for part in parts), 1.25], abs=0.12)
    if "mask" in parts:
        errors = np.mean([p is not None and p < 0.05 for *_, (_, p), _ in found])
        assert 0.035 < errors < 0.065


def _score(seeds: Seeds, effects: dict[str, np.ndarray]) -> float:
    return float(sum(effect[getattr(seeds, part)] for part, effect in effects.items()))
