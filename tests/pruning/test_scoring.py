from __future__ import annotations

import torch
from torch import Tensor, nn

from pruning_cases import WEIGHTS, Examples, classifier, cross_entropy, draw_examples
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
