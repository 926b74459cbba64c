"""The controls: shuffled masks, inverted scores, and weights that are drawn anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pruning_cases import (
    WEIGHTS,
    classifier,
    copy_parameters,
    cross_entropy,
    draw_examples,
    scoring,
)
from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.masks import Masks
from sparsead.pruning.prune import prune
from sparsead.pruning.snip import snip


def pruned(**how: Any) -> tuple[dict[str, Tensor], Masks]:
    """Return the weights after pruning a network of equal weights by half, and its masks."""
    model = classifier(20, 30, 10)
    batches = [draw_examples(40, 20, 10)]
    given: dict[str, Any] = {
        "pruner": "snip",
        "sparsity": 0.5,
        "loss": cross_entropy,
        "batches": batches,
    } | how
    masks = prune(model, tensors=WEIGHTS, **given)
    return copy_parameters(model), masks


def kept(masks: Masks) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def test_a_shuffled_mask_keeps_as_many_weights_of_each_tensor_elsewhere() -> None:
    _, plain = pruned()
    weights, shuffled = pruned(control="shuffle")
    assert kept(shuffled) == kept(plain)
    assert len({*kept(plain).values()}) == len(plain), "the shares of the tensors differ"
    for name, mask in shuffled.items():
        expected = plain[name].float().mean() ** 2
        overlap = (mask & plain[name]).float().mean()
        assert abs(overlap - expected) < 0.1
        assert (weights[name][~mask] == 0).all()
    again, other = pruned(control="shuffle")[1], pruned(control="shuffle", seed=1)[1]
    assert all(torch.equal(shuffled[name], again[name]) for name in WEIGHTS)
    assert not all(torch.equal(shuffled[name], other[name]) for name in WEIGHTS)


def test_inverted_scores_keep_the_lowest() -> None:
    _, masks = pruned(control="invert", minimum_kept=0)
    scores = snip(scoring(classifier(20, 30, 10), [draw_examples(40, 20, 10)], cross_entropy))
    highest = max(float(scores[name][mask].max()) for name, mask in masks.items() if mask.any())
    lowest = min(float(scores[name][~mask].min()) for name, mask in masks.items())
    assert highest <= lowest
    assert masks.removed == round(0.5 * masks.total)


def test_drawing_anew_keeps_the_mask_and_replaces_the_weights() -> None:
    before, plain = pruned()
    drawn = {name: torch.full_like(before[name], 7.0) for name in WEIGHTS}
    weights, masks = pruned(control="reinit", redraw=lambda: drawn)
    for name in WEIGHTS:
        assert torch.equal(masks[name], plain[name])
        assert torch.equal(weights[name], 7.0 * masks[name])


def test_drawing_anew_needs_the_weights() -> None:
    with pytest.raises(PruningError, match="control=reinit: needs redraw"):
        pruned(control="reinit")
    with pytest.raises(PruningError, match=r"returned no 0\.weight of its shape"):
        pruned(control="reinit", redraw=lambda: {"0.weight": torch.zeros(1)})


def test_an_unknown_control_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"control=shufle: .*did you mean shuffle"):
        pruned(control="shufle")


@pytest.mark.parametrize("control", ["shuffle", "invert"])
def test_a_control_that_breaks_the_pattern_of_a_pruner_is_refused(control: str) -> None:
    with pytest.raises(ConfigError, match=f"control={control}: pruner=nm supports none, reinit"):
        pruned(control=control, pruner="nm", sparsity=0.5)
