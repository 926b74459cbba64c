from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_cases import WEIGHTS, Examples, classifier, cross_entropy, draw_examples
from sparsead.errors import PruningError
from sparsead.pruning.contract import PRUNERS, Scores, Scoring
from sparsead.pruning.prune import prune


def drawing_loss(model: nn.Module, batch: Examples) -> Tensor:
    """Draw from the process's generator, as dropout would."""
    return cross_entropy(model, batch) + 0 * torch.rand(())


def test_scoring_leaves_no_trace() -> None:
    model = classifier(8, 16, 4, dropout=0.5).train()
    model.get_submodule("0").eval()
    model.get_parameter("3.bias").requires_grad_(False)
    cross_entropy(model, draw_examples(32, 8, 4, seed=0)).backward()
    gradients = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    prune(
        model,
        tensors=WEIGHTS,
        sparsity=0.5,
        pruner="snip",
        batches=[draw_examples(32, 8, 4, seed=1)],
        loss=drawing_loss,
    )
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in model.modules()] == modes
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    for name, parameter in model.named_parameters():
        before = gradients[name]
        if before is None:
            assert parameter.grad is None
        else:
            assert parameter.grad is not None
            assert torch.equal(parameter.grad, before)


def keep_absolute(scoring: Scoring) -> Scores:
    """Compute in place by mistake."""
    return {name: tensor.detach().abs_() for name, tensor in scoring.tensors.items()}


def move_bias(scoring: Scoring) -> Scores:
    scoring.model.get_parameter("0.bias").data += 1
    return {name: tensor.detach().abs() for name, tensor in scoring.tensors.items()}


@pytest.mark.parametrize("pruner", [keep_absolute, move_bias])
def test_a_pruner_that_changes_the_model_is_refused_and_the_model_restored(
    pruner: Callable[[Scoring], Scores],
) -> None:
    model, untouched = classifier(8, 16, 4), classifier(8, 16, 4)
    with pytest.raises(PruningError, match="the pruner has changed 0"):
        prune(model, tensors=WEIGHTS, sparsity=0.5, pruner=pruner)

    def failing(scoring: Scoring) -> Scores:
        pruner(scoring)
        raise KeyError("of its own")

    with pytest.raises(KeyError):
        prune(model, tensors=WEIGHTS, sparsity=0.5, pruner=failing)
    for name, parameter in untouched.named_parameters():
        assert torch.equal(model.get_parameter(name), parameter)


def test_buffers_may_have_any_layout_and_change_in_the_models_own_forward_pass() -> None:
    model = classifier(8, 16, 4)
    model.register_buffer("calls", torch.zeros(()))
    model.register_buffer("links", torch.eye(3).to_sparse())
    model.register_buffer("later", torch.empty(2, device="meta"))

    def count(module: nn.Module, _inputs: object) -> None:
        module.get_buffer("calls").add_(1)

    model.register_forward_pre_hook(count)
    masks = prune(
        model,
        tensors=WEIGHTS,
        sparsity=0.5,
        pruner=lambda scoring: {n: g.abs() for n, g in scoring.mean_gradients().items()},
        batches=[draw_examples(32, 8, 4)],
        loss=cross_entropy,
    )
    assert masks.removed == masks.total // 2


def test_gradients_that_a_pruner_leaves_are_removed() -> None:
    def accumulating(scoring: Scoring) -> Scores:
        scoring.loss(scoring.model, scoring.batches[0]).backward()
        return {name: tensor.grad.abs() for name, tensor in scoring.tensors.items()}  # type: ignore[union-attr]

    model, batch = classifier(8, 16, 4), draw_examples(32, 8, 4)
    prune(
        model,
        tensors=WEIGHTS,
        sparsity=0.5,
        pruner=accumulating,
        batches=[batch],
        loss=cross_entropy,
    )
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    "convert", [Tensor.to_sparse, lambda t: t.to("meta"), lambda t: t.to(torch.float8_e4m3fn)]
)
def test_scores_that_cannot_be_compared_are_refused(convert: Callable[[Tensor], Tensor]) -> None:
    def scores(scoring: Scoring) -> Scores:
        return {name: convert(tensor.detach()) for name, tensor in scoring.tensors.items()}

    with pytest.raises(PruningError, match="its scores must be real numbers in a dense tensor"):
        prune(classifier(8, 16, 4), tensors=WEIGHTS, sparsity=0.5, pruner=scores)


def test_batches_of_texts_count_by_their_target_tokens() -> None:
    """The gradient is that of the mean over all tokens, whatever batches they come in."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"tokens": nn.Embedding(9, 4), "out": nn.Linear(4, 9, bias=False)})
    tokens = torch.randint(0, 9, (6, 8))
    labels = torch.where(
        torch.arange(8) < torch.tensor([[1], [8], [2], [7], [3], [5]]), tokens, -100
    )

    def mean_over_tokens(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        logits = network.get_submodule("out")(network.get_submodule("tokens")(batch["input_ids"]))
        return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())

    found = []
    for size in (6, 4, 1):
        parts = zip(tokens.split(size), labels.split(size), strict=True)
        batches = [{"input_ids": each, "labels": true} for each, true in parts]
        tensors = {"out.weight": model.get_parameter("out.weight")}
        scoring = Scoring(model, tensors, batches, mean_over_tokens, sparsity=0.5, seed=1)
        found.append(scoring.mean_gradients()["out.weight"])
    for gradient in found[1:]:
        torch.testing.assert_close(gradient, found[0])


@pytest.mark.parametrize("pruner", ["snip", "gradient", "taylor", "fisher", "force", "grasp"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_of_a_model_in_half_precision_do_not_vanish(pruner: str, dtype: torch.dtype) -> None:
    """Weights and gradients of 1e-5 have products that half precision rounds to 0."""
    torch.manual_seed(0)
    model = nn.Linear(6, 4, bias=False)
    with torch.no_grad():
        model.weight.mul_(1e-3)
    model.to(dtype)
    inputs = 1e-2 * torch.randn(12, 6).to(dtype)
    tensors = {"weight": nn.Parameter(model.weight)}
    model.weight = tensors["weight"]

    def loss(network: nn.Module, batch: Tensor) -> Tensor:
        output: Tensor = network(batch).float()
        return output.pow(2).sum() + output.sum()

    scores = PRUNERS.get(pruner)(Scoring(model, tensors, [inputs[:8], inputs[8:]], loss, 0.5, 1))
    assert scores["weight"].dtype is not dtype
    assert (scores["weight"] != 0).all()
