"""Which parameters and arguments `prune` takes; what it refuses, in one line and untouched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune
from transformers import GPT2Config, GPT2LMHeadModel

from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.prune import prune

PRUNERS = ["random", "magnitude", "er", "erk", "snip", "grasp", "force", "synflow"]
TIED = ("transformer.wte.weight", "lm_head.weight")


class Layer(nn.Module):
    """A matrix, and another parameter to be pruned with it."""

    def __init__(self, other: Tensor) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(4, 4))
        self.other = nn.Parameter(other, requires_grad=other.is_floating_point())

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs @ self.matrix).pow(2).sum() * self.other.sum()


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 20, "n_embd": 8, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, n_positions=8, bos_token_id=0, eos_token_id=0))


def tokens() -> dict[str, Tensor]:
    ids = torch.tensor([[1, 2, 3, 4]])
    return {"input_ids": ids, "labels": ids}


def text_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    loss: Tensor = model(**batch).loss
    return loss


def total(model: nn.Module, batch: Tensor) -> Tensor:
    output: Tensor = model(batch)
    return output.pow(2).sum()


def test_two_names_of_one_parameter_are_refused() -> None:
    with pytest.raises(PruningError, match=r"lm_head\.weight: has the same weights as transformer"):
        prune(gpt2(), tensors=TIED, sparsity=0.5, pruner="random")


def test_two_parameters_of_one_memory_are_refused() -> None:
    model = nn.Module()
    model.first = nn.Parameter(torch.randn(4, 4))
    model.second = nn.Parameter(model.first.data[2:])
    model.rest = nn.Parameter(model.first.data[:2])
    with pytest.raises(PruningError, match="second: has the same weights as first"):
        prune(model, tensors=["first", "second"], sparsity=0.5, pruner="random")
    assert prune(model, tensors=["rest", "second"], sparsity=0.5, pruner="random").removed == 8


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("pruner", PRUNERS)
def test_either_name_of_a_tied_parameter_is_pruned_exactly(pruner: str, name: str) -> None:
    model = gpt2()
    masks = prune(
        model, tensors=[name], sparsity=0.5, pruner=pruner, batches=[tokens()], loss=text_loss
    )
    assert (masks.removed, masks.total) == (80, 160)
    for other in TIED:
        assert int((model.get_parameter(other) == 0).sum()) == 80


def test_both_names_of_a_tied_parameter_give_the_same_synflow() -> None:
    masks = [
        prune(gpt2(), tensors=[name], sparsity=0.5, pruner="synflow", batches=[tokens()])[name]
        for name in TIED
    ]
    assert torch.equal(*masks)


@pytest.mark.parametrize("sparsity", [0.0, 0.2, 0.5])
def test_what_was_pruned_before_is_refused(sparsity: float) -> None:
    model = nn.Linear(8, 6)
    prune(model, tensors=["weight"], sparsity=0.3, pruner="random")
    with pytest.raises(PruningError, match=r"weight: was pruned before, 14 of its 48 weights"):
        prune(model, tensors=["weight"], sparsity=sparsity, pruner="random", seed=5)
    assert int((model.weight == 0).sum()) == 14


def test_what_torch_pruned_before_is_refused() -> None:
    model = nn.Linear(8, 6)
    torch_prune.random_unstructured(model, "weight", amount=10)
    with pytest.raises(PruningError, match="weight_orig: was pruned before, 10 of its 48"):
        prune(model, tensors=["weight_orig"], sparsity=0.5, pruner="random")


def test_a_mask_that_removes_nothing_is_no_pruning() -> None:
    model = nn.Linear(8, 6)
    prune(model, tensors=["weight"], sparsity=0.0, pruner="random")
    assert prune(model, tensors=["weight"], sparsity=0.5, pruner="random").removed == 24


@pytest.mark.parametrize("pruner", [*PRUNERS, "nm", "units"])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (torch.zeros(0, 3), "other: is empty"),
        (torch.randn(4, 4, device="meta"), "other: is on the meta device"),
        (torch.ones(4, 4, dtype=torch.complex64), "other: holds complex64"),
        (torch.ones(4, 4, dtype=torch.int64), "other: holds int64"),
        (torch.ones(1, 4).expand(4, 4), "other: is expanded"),
    ],
)
def test_what_cannot_be_pruned_is_refused_by_every_pruner(
    pruner: str, other: Tensor, message: str
) -> None:
    given: dict[str, Any] = {"batches": [torch.randn(2, 4)], "loss": total}
    with pytest.raises(PruningError, match=f"^{message}") as refused:
        prune(Layer(other), tensors=["matrix", "other"], sparsity=0.5, pruner=pruner, **given)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("pruner", ["er", "erk", "nm"])
def test_a_scalar_has_no_layer(pruner: str) -> None:
    with pytest.raises(PruningError, match="other"):
        prune(Layer(torch.tensor(1.0)), tensors=["other"], sparsity=0.5, pruner=pruner)


@pytest.mark.parametrize("embedding", [nn.Embedding, nn.EmbeddingBag])
def test_sparse_gradients_are_refused_also_under_the_name_of_a_tied_layer(embedding: Any) -> None:
    tied = nn.Sequential(embedding(8, 4, sparse=True), nn.Linear(4, 8, bias=False))
    tied[1].weight = tied[0].weight
    for name in ("0.weight", "1.weight"):
        with pytest.raises(PruningError, match=f"{name}: has sparse gradients"):
            prune(tied, tensors=[name], sparsity=0.5, pruner="magnitude")


def test_a_lazy_layer_and_an_inference_tensor_are_refused() -> None:
    with pytest.raises(PruningError, match="weight: has no shape yet"):
        prune(nn.LazyLinear(4), tensors=["weight"], sparsity=0.5)
    with torch.inference_mode():
        model = nn.Linear(4, 4)
    with pytest.raises(PruningError, match="weight: was created in inference mode"):
        prune(model, tensors=["weight"], sparsity=0.5)


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_pruning_where_gradients_are_off_gives_the_same_masks(pruner: str, context: Any) -> None:
    def pruned() -> Tensor:
        given: dict[str, Any] = {"tensors": ["weight"], "batches": [batch], "loss": total}
        return prune(model, sparsity=0.5, pruner=pruner, **given)["weight"]

    batch = torch.randn(3, 4)
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    expected = pruned()
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    with context():
        assert torch.equal(pruned(), expected)


def test_batches_of_inference_mode_are_refused() -> None:
    with torch.inference_mode():
        batches = [torch.randn(3, 4)]
    with pytest.raises(PruningError, match="batches: were created in inference mode; clone them"):
        prune(nn.Linear(4, 4), tensors=["weight"], sparsity=0.5, batches=batches, loss=total)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"sparsity": "0.5"}, "sparsity='0.5': must be a number"),
        ({"sparsity": float("nan")}, "sparsity=nan: must be at least 0 and below 1"),
        ({"minimum_kept": 2}, "minimum_kept=2: must be at least 0 and below 1"),
        ({"minimum_kept": "a"}, "minimum_kept='a': must be a number"),
        ({"seed": "a"}, "seed='a': must be a whole number"),
        ({"batches": 5}, "batches=5: must be batches"),
        ({"batches": "abc"}, "batches='abc': must be batches"),
        ({"loss": 5}, "loss=5: must be a function"),
        ({"loss": lambda model, batch: model(batch)}, r"loss: .*not Tensor of shape \(3, 4\)"),
        ({"loss": lambda _model, _batch: 3.0}, "loss: .*not float"),
        ({"loss": lambda _model, _batch: None}, "loss: .*not NoneType"),
        ({"loss": lambda m, b: total(m, b).detach()}, "loss: depends on none of the tensors"),
        ({"pruner": lambda _scoring: None}, "must return scores by name, not a NoneType"),
        ({"pruner": lambda _scoring: {"weight": [1]}}, "weight: its scores must be real numbers"),
        ({"pruner": 7}, "pruner=7: must be a name or a function"),
        ({"tensors": None}, "tensors: must be names, not NoneType"),
        ({"tensors": [3]}, "tensors: must be names, not int"),
        ({"tensors": nn.Linear(4, 4).parameters()}, "tensors: must be names, not Parameter, as in"),
        ({"tensors": nn.Linear(4, 4).named_parameters()}, "tensors: must be names, not tuple"),
        ({"model": "bert"}, "model: must be a torch module, not str"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(argument: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "model": nn.Linear(4, 4),
        "tensors": ["weight"],
        "sparsity": 0.5,
        "batches": [torch.randn(3, 4)],
        "loss": total,
    } | argument
    with pytest.raises((PruningError, ConfigError), match=message) as refused:
        prune(given.pop("model"), **given)
    assert "\n" not in str(refused.value)
