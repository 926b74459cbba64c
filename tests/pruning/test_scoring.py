from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_cases import WEIGHTS, Examples, classifier, cross_entropy, draw_examples
from sparsead.pruning.contract import PRUNERS, Scoring
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
