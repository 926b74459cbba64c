"""Sparse fine-tuning: which weights train, that no other changes, and what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sparsead
from composing import ask_for, compose
from pruning_cases import copy_parameters
from sparsead.adapters.adapted import AdaptedModel
from sparsead.adapters.chosen import (
    ChosenWeights,
    pack_places,
    restore_chosen,
    train_chosen,
    unpack_places,
)
from sparsead.adapters.lora import LoRAAdapter
from sparsead.adapters.merging import merge
from sparsead.adapters.sparse import SparseAdapter
from sparsead.assembly.account import count_costs
from sparsead.assembly.build import prune_adapter
from sparsead.assembly.exported import export_merged
from sparsead.assembly.exported_peft import export_peft
from sparsead.backbones.loading import load_backbone
from sparsead.errors import ConfigError, TrainingStopped
from sparsead.exchange.shira import choose_rank, to_shira
from sparsead.pruning.budget import masks_from_scores
from sparsead.pruning.contract import PRUNERS
from sparsead.pruning.masks import Masks
from sparsead.pruning.selection import highest
from sparsead.pruning.storage import load_weights
from sparsead.train import train
from tiny_models import check_gradients_at_places, labelled_batch, take_steps, tiny_classifier

SITES = ["query", "key", "value", "attention_projection", "ffn_input", "ffn_projection"]
TOTAL = 2 * (4 * 32 * 32 + 2 * 32 * 64)
"""Weights of the linear layers of tiny-bert."""


def candidates(budget: str | float = 0.01) -> AdaptedModel:
    return SparseAdapter(budget=budget, sites=SITES).insert(tiny_classifier(), 1)


def choose(*overrides: str, budget: str | float = 0.01) -> tuple[AdaptedModel, Masks, AdaptedModel]:
    """Return the model before and after the choice, and the masks; the model is one object."""
    spec = compose("adapter=sparse", "backbone=tiny-bert", f"adapter.budget={budget}", *overrides)
    adapted = candidates(budget)
    pruner = PRUNERS.bind(spec.pruner.method, spec.pruner.options)
    masks = prune_adapter(spec, pruner, adapted, [labelled_batch()])
    return adapted, masks, train_chosen(adapted, masks)


@pytest.mark.parametrize("pruner", ["random", "magnitude", "snip", "gradient", "fisher", "taylor"])
@pytest.mark.parametrize(("sparsity", "expected"), [(0.0, 164), (0.4, 98)])
def test_exactly_the_budget_trains(pruner: str, sparsity: float, expected: int) -> None:
    adapted, masks, trained = choose(f"pruner={pruner}", f"sparsity.ratio={sparsity}")
    assert adapted.budget == round(0.01 * TOTAL) == 164
    values = [trained.model.get_parameter(name) for name in trained.adapter]
    assert sum(value.numel() for value in values) == masks.total - masks.removed == expected
    for name, mask in masks.items():
        assert not trained.model.get_parameter(name).requires_grad
        if mask.any():
            module = trained.model.get_submodule(f"{name.removesuffix('.weight')}.adapter")
            assert isinstance(module, ChosenWeights)
            found = unpack_places(module.places, mask.numel())
            assert torch.equal(found, mask.flatten().nonzero().squeeze(1))


def test_the_smallest_budget_is_one_weight() -> None:
    _, masks, trained = choose("pruner=snip", "sparsity=dense", budget=0.00006)
    assert masks.total - masks.removed == 1
    assert len(trained.adapter) == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("share", [0.01, 0.5])
def test_gradients_are_those_of_the_whole_matrices_at_the_places(
    share: float, precision: str
) -> None:
    """Below and above the share from which on the whole gradient is computed."""
    _, masks, trained = choose("pruner=random", "sparsity=dense", budget=share)
    reference = tiny_classifier()
    reference.load_state_dict(trained.model.state_dict(), strict=False)
    check_gradients_at_places(trained.model, reference, masks, precision)
    head = trained.head[-1]
    torch.testing.assert_close(
        trained.model.get_parameter(head).grad, reference.get_parameter(head).grad
    )


def test_no_other_weight_changes_and_merged_outputs_are_the_same_bits() -> None:
    before = copy_parameters(tiny_classifier())
    _, masks, trained = choose("pruner=snip", "sparsity=dense", budget=0.05)
    take_steps(trained.model)
    outputs = trained.model(**labelled_batch()).logits
    changed = 0
    for name, mask in masks.items():
        now = trained.model.get_parameter(name).detach()
        assert torch.equal(now[~mask], before[name][~mask])
        changed += int((now[mask] != before[name][mask]).sum())
    assert changed > 0.9 * 0.05 * TOTAL
    others = {*before} - {*masks, *trained.head}
    assert all(torch.equal(trained.model.get_parameter(n).detach(), before[n]) for n in others)
    merged = merge(trained.model)
    assert {f"{layer}.adapter.values" for layer in merged} == {*trained.adapter}
    plain = tiny_classifier()
    plain.load_state_dict(trained.model.state_dict())
    assert torch.equal(plain(**labelled_batch()).logits, outputs)


@pytest.mark.parametrize("budget", [0.01, 0.2])
def test_what_is_stored_gives_the_same_model_and_takes_the_smaller_form(budget: float) -> None:
    _, _, trained = choose("pruner=random", "sparsity=dense", budget=budget)
    take_steps(trained.model)
    state = {name: tensor.clone() for name, tensor in trained.trained_state().items()}
    places = [tensor for name, tensor in state.items() if name.endswith(".places")]
    assert {tensor.dtype for tensor in places} == {torch.int32 if budget < 1 / 32 else torch.uint8}
    assert sum(t.nbytes for t in places) <= min(4 * round(budget * TOTAL), TOTAL / 8)
    again = restore_chosen(candidates(budget), state)
    again.model.load_state_dict(state, strict=False)
    again.model.eval()
    assert again.stored == trained.stored
    assert torch.equal(
        again.model(**labelled_batch()).logits, trained.model(**labelled_batch()).logits
    )


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_places_survive_both_forms(data: Any) -> None:
    size = data.draw(st.integers(1, 70))
    chosen = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    indices = torch.tensor(sorted(chosen))
    for as_bits in (False, True):
        packed = pack_places(indices, size, as_bits=as_bits)
        assert torch.equal(unpack_places(packed, size), indices)


@pytest.mark.parametrize("places", [[3, 2], [1, 1], [-1, 2], [0, 16]])
def test_places_from_a_file_are_checked(places: list[int]) -> None:
    with pytest.raises(ConfigError, match="do not fit a matrix of 16 weights"):
        unpack_places(torch.tensor(places, dtype=torch.int32), 16)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=9), min_size=1, max_size=4), st.data()
)
def test_the_highest_scores_are_those_of_masks_from_scores(rows: Any, data: Any) -> None:
    scores = {str(n): torch.tensor(row, dtype=torch.float32) for n, row in enumerate(rows)}
    total = sum(map(len, rows))
    count = data.draw(st.integers(1, total))
    masks, ties = highest(scores, count, seed=3)
    expected = masks_from_scores(scores, 1 - count / total, scope="global", minimum_kept=0, seed=3)
    assert all(torch.equal(masks[name], expected[name]) for name in scores)
    kept, removed = (
        [s for n in scores for s in scores[n][m[n]].tolist()]
        for m in (masks, {name: ~mask for name, mask in masks.items()})
    )
    assert ties == sum(score in removed for score in kept)


@pytest.mark.parametrize("other", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_scores_of_several_types_are_ranked_by_their_values(other: torch.dtype) -> None:
    draws = torch.Generator().manual_seed(1)
    exact = torch.rand(40, generator=draws, dtype=torch.float64) * 2
    rounded = (torch.rand(40, generator=draws) * 3).to(other)
    for scores in ({"a": exact, "b": rounded}, {"a": rounded, "b": exact}):
        masks, ties = highest(scores, 10, seed=1)
        values = torch.cat([scores[name].double() for name in scores])
        marked = torch.cat([masks[name] for name in scores])
        assert marked.sum() == 10
        assert values[marked].min() >= values[~marked].max()
        assert ties >= 0


def test_a_named_budget_is_the_size_of_that_adapter() -> None:
    assert candidates("houlsby:8").budget == 4 * (2 * 32 * 8 + 8 + 32)
    lora = LoRAAdapter(bottleneck=2, sites=["query", "value"]).insert(tiny_classifier(), 1)
    size = sum(lora.model.get_parameter(name).numel() for name in lora.adapter)
    assert candidates("lora:2").budget == size


def test_counting_a_named_budget_leaves_the_models_attention_as_it_is() -> None:
    model = tiny_classifier("tiny-bert")
    before = model.config._attn_implementation
    SparseAdapter(budget="prefix:4", sites=SITES).insert(model, 1)
    assert model.config._attn_implementation == before


def test_counts_are_those_of_what_trains() -> None:
    spec = compose(
        "adapter=sparse", "backbone=tiny-bert", "adapter.budget=houlsby:8", "pruner=snip"
    )
    size = candidates("houlsby:8").budget
    assert size is not None
    counts = count_costs(spec)
    assert counts["trainable_nonzero"] - counts["head"] == round(0.6 * size)
    assert counts["added_flops_per_token"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0.001, 0.3])
def test_the_size_of_the_file_is_foreseen(budget: float, tmp_path: Path) -> None:
    request = ask_for(
        *("backbone=tiny-bert", "task=demo_mrpc", "task.limit=8", "protocol.epochs=1"),
        *("device=cpu", "adapter=sparse", f"adapter.budget={budget}", "pruner=random"),
        *("sparsity=dense", f"outputs={tmp_path}"),
    )
    stored = train(request).result["parameters"]["stored_bytes"]
    assert count_costs(request.spec)["stored_bytes"] == pytest.approx(stored, rel=0.02)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pruner=none"], "pruner=none: adapter=sparse needs a pruner"),
        (
            ["adapter.start=FOLDER", "pruner=snip"],
            "pruner=snip: with adapter.start=FOLDER, the weights that were chosen in that run or ",
        ),
        (["pruner=nm"], "pruner=nm: keeps 2/4 of the weights"),
        (["pruner=force"], "pruner=force: scores the model with weights set to zero, and those of"),
        (["pruner=synflow"], "such as pruner=snip"),
        (["pruner=snip", "pruner.control=reinit"], "pruner.control=reinit: draws weights anew"),
        (["pruner=snip", "pruner.minimum_kept=0.1"], "pruner.minimum_kept=0.1: adapter=sparse"),
        (["pruner=snip", "protocol.torch_compile=true"], "protocol.torch_compile=true"),
        (["sparsity=large_sparse"], "sparsity.scale=2: adapter=sparse has no bottleneck"),
    ],
)
def test_what_cannot_be_combined_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose("adapter=sparse", *overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (0.0, "must be above 0 and at most 1"),
        ("many", "must be a share such as 0.001, or an adapter and its bottleneck"),
        ("houlsby:0", "must be a share"),
        (f"houlsby:{'9' * 5000}", "must be a share"),
        ("houlsbi:64", "adapter.budget=houlsbi:64: .*houlsby"),
        ("full:64", "adapter.budget=full:64: "),
        ("houlsby:640", "is 166528 weights; the sites have 16384"),
    ],
)
def test_a_wrong_budget_is_refused_in_one_line(budget: str | float, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        candidates(budget)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    words = ["adapter=sparse", "pruner=random", "backbone=tiny-bert", "task.limit=16", "device=cpu"]
    words += ["adapter.budget=0.02", "protocol.epochs=2", "precision=fp32", "sparsity=dense"]
    states = []
    for name in ("whole", "resumed"):
        request = ask_for(*words, f"outputs={tmp_path / name}")
        if name == "resumed":
            with pytest.raises(TrainingStopped):
                train(request, lambda _: True)
        record = train(request)
        states.append(load_weights(record).tensors)
    assert record.result["resumed_from_epoch"] == 1
    assert states[0].keys() == states[1].keys()
    assert all((states[0][name] == states[1][name]).all() for name in states[0])


@pytest.mark.slow
def test_a_run_is_recorded_resumed_loaded_and_exported(tmp_path: Path) -> None:
    words = ["adapter=sparse", "pruner=snip", "backbone=tiny-bert", "task.limit=16"]
    words += ["adapter.budget=houlsby:4", "protocol.epochs=1", "device=cpu", "precision=fp32"]
    record = sparsead.train(words, outputs=tmp_path)
    size = 4 * (2 * 32 * 4 + 4 + 32)
    sparsity = record.result["sparsity"]
    assert sparsity["total"] - sparsity["removed"] == round(0.6 * size)
    run = sparsead.load(record.folder)
    assert run.predict([dict.fromkeys(run.inputs, "a text")])
    export_merged(record, tmp_path / "merged")
    plain = type(run.model).from_pretrained(tmp_path / "merged").eval()
    assert torch.equal(plain(**labelled_batch()).logits, run.model(**labelled_batch()).logits)
    export_peft(record, tmp_path / "peft")
    base = load_backbone(run.spec.backbone).model(run.task.head, run.task.head_options, 1)
    shira = peft.PeftModel.from_pretrained(base, tmp_path / "peft").eval()
    with torch.no_grad():
        expected, found = run.model(**labelled_batch()).logits, shira(**labelled_batch()).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_layer_with_more_weights_than_shira_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"r is 3, but b has only 16 weights: let fewer weights"):
        choose_rank({"a": 40, "b": 1}, {"a": (8, 8), "b": (4, 4)})
    values, indices = np.array([5.0, 7.0], np.float32), np.array([1, 4])
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    made = to_shira(values, indices, base, 1)
    assert made["shira_indices"].tolist() == [[0, 0, 0, 1, 1], [0, 1, 2, 0, 1]]
    assert made["shira_weight"].tolist() == [0, 4, 0, 0, 3]
