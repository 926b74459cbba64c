"""BitFit with a budget: which biases train, that nothing else changes, and what is stored."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from composing import compose
from pruning_cases import copy_parameters
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.bitfit import BitFit
from sparsead.adapters.chosen import restore_chosen, train_chosen
from sparsead.adapters.merging import merge
from sparsead.assembly.build import prune_adapter
from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.contract import PRUNERS
from sparsead.pruning.masks import Masks
from tiny_models import check_gradients_at_places, labelled_batch, take_steps, tiny_classifier

TOTAL = 2 * (4 * 32 + 64 + 32 + 2 * 32) + 32
"""Biases of the linear layers and the LayerNorms of tiny-bert, without the pooler."""
CHOOSING = ("random", "magnitude", "snip", "grasp", "gradient", "fisher", "taylor")


def biased_classifier() -> PreTrainedModel:
    """Return a classifier whose biases are not zero, as in a pretrained backbone."""
    model = tiny_classifier()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_(std=0.02)
    return model


def choose(pruner: str, *overrides: str) -> tuple[Masks, AdaptedModel]:
    spec = compose("adapter=bitfit", "adapter.budget=0.5", f"pruner={pruner}", *overrides)
    adapted = BitFit(budget=0.5).insert(biased_classifier(), 1)
    masks = prune_adapter(
        spec, PRUNERS.bind(spec.pruner.method, spec.pruner.options), adapted, [labelled_batch()]
    )
    return masks, train_chosen(adapted, masks)


@pytest.mark.parametrize("pruner", CHOOSING)
@pytest.mark.parametrize(("sparsity", "expected"), [(0.0, TOTAL // 2), (0.4, TOTAL * 3 // 10)])
def test_exactly_the_budget_trains(pruner: str, sparsity: float, expected: int) -> None:
    masks, trained = choose(pruner, f"sparsity.ratio={sparsity}")
    values = [trained.model.get_parameter(name) for name in trained.adapter]
    assert masks.total == TOTAL
    assert sum(value.numel() for value in values) == masks.total - masks.removed == expected


def test_gradients_are_those_of_the_whole_biases_at_the_places() -> None:
    masks, trained = choose("random", "sparsity=dense")
    reference = biased_classifier()
    check_gradients_at_places(trained.model, reference, masks)


def test_no_other_weight_changes_and_what_is_stored_and_merged_computes_the_same() -> None:
    before = copy_parameters(biased_classifier())
    masks, trained = choose("snip", "sparsity=dense")
    take_steps(trained.model)
    outputs = trained.model(**labelled_batch()).logits
    for name, mask in masks.items():
        same = trained.model.get_parameter(name) == before[name]
        assert same[~mask].all()
        assert not same[mask].all() or not mask.any()
    state = trained.model.state_dict()
    stored = {name: state[name] for name in (*trained.adapter, *trained.buffers)}
    again = restore_chosen(BitFit(budget=0.5).insert(biased_classifier(), 1), stored)
    again.model.load_state_dict(
        {**stored, **{name: state[name] for name in trained.head}}, strict=False
    )
    assert torch.equal(again.model.eval()(**labelled_batch()).logits, outputs)
    merge(trained.model)
    assert torch.equal(trained.model(**labelled_batch()).logits, outputs)
    assert not any("adapter" in name for name in trained.model.state_dict())


@pytest.mark.parametrize("budget", [0.0, -0.1, 1.5, 0.0001])
def test_a_wrong_budget_is_refused(budget: float) -> None:
    with pytest.raises(ConfigError, match=r"adapter\.budget"):
        BitFit(budget=budget).insert(biased_classifier(), 1)


def test_without_a_budget_all_biases_train_and_none_is_prunable() -> None:
    adapted = BitFit().insert(biased_classifier(), 1)
    assert sum(adapted.model.get_parameter(n).numel() for n in adapted.adapter) == TOTAL
    assert not adapted.prunable
    assert adapted.budget is None


@pytest.mark.parametrize("pruner", ["units", "taso"])
def test_pruners_of_matrices_are_refused(pruner: str) -> None:
    with pytest.raises((ConfigError, PruningError)):
        choose(pruner, "sparsity=dense")


def test_the_remedy_for_biases_of_zero_is_a_key_that_bitfit_has() -> None:
    spec = compose("adapter=bitfit", "adapter.budget=0.5", "pruner=snip")
    adapted = BitFit(budget=0.5).insert(tiny_classifier(), 1)
    for name in adapted.prunable:
        adapted.model.get_parameter(name).data.zero_()
    with pytest.raises(PruningError, match=r"use pruner\.probe=true to score at N\(0, 0\.02\^2\)$"):
        prune_adapter(spec, PRUNERS.bind("snip", spec.pruner.options), adapted, [labelled_batch()])


@pytest.mark.parametrize("pruner", ["force", "synflow"])
def test_pruners_that_set_biases_to_zero_are_refused(pruner: str) -> None:
    with pytest.raises(ConfigError, match=f"pruner={pruner}: scores the model with weights set to"):
        compose("adapter=bitfit", "adapter.budget=0.5", f"pruner={pruner}")
