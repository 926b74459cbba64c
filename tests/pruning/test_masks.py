"""Removed weights stay exactly zero, whatever training does to the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from sparsead.pruning.prune import prune


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 4))


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(32, 8, generator=draw), torch.randint(0, 4, (32,), generator=draw)


def loss(model: nn.Module, pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return nn.functional.cross_entropy(model(pair[0]).float(), pair[1])


TENSORS = ("0.weight", "3.weight")


def pruned(sparsity: float = 0.5) -> tuple[nn.Sequential, dict[str, torch.Tensor]]:
    model = network()
    batches = [batch(seed) for seed in range(4)]
    return model, prune(model, tensors=TENSORS, sparsity=sparsity, batches=batches, loss=loss)


def plain(model: nn.Module, seed: int, optimizer: torch.optim.Optimizer) -> None:
    loss(model, batch(seed)).backward()


def accumulated(model: nn.Module, seed: int, optimizer: torch.optim.Optimizer) -> None:
    for part in range(3):
        (loss(model, batch(10 * seed + part)) / 3).backward()


def clipped(model: nn.Module, seed: int, optimizer: torch.optim.Optimizer) -> None:
    (1e4 * loss(model, batch(seed))).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)


def autocast(model: nn.Module, seed: int, optimizer: torch.optim.Optimizer) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(model, batch(seed))
    value.backward()


def checkpointed(model: nn.Module, seed: int, optimizer: torch.optim.Optimizer) -> None:
    inputs, classes = batch(seed)
    outputs = torch.utils.checkpoint.checkpoint(model, inputs, use_reentrant=False)
    nn.functional.cross_entropy(outputs, classes).backward()


def overflowing(model: nn.Module, seed: int, optimizer: torch.optim.Optimizer) -> None:
    """What a GradScaler meets: gradients that are infinite or NaN."""
    (loss(model, batch(seed)) * float("inf")).backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None
        if name in TENSORS:
            assert not gradient.isfinite().all()
            assert (gradient[parameter.detach() == 0] == 0).all()
        gradient.nan_to_num_(0.0, 1.0, -1.0)


@pytest.mark.parametrize("step", [plain, accumulated, clipped, autocast, checkpointed, overflowing])
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop])
def test_removed_weights_stay_zero_and_kept_ones_train(
    step: Callable[..., None], optimizer: type[torch.optim.Optimizer]
) -> None:
    model, masks = pruned()
    before = {name: model.get_parameter(name).detach().clone() for name in TENSORS}
    updates = optimizer(model.parameters(), lr=1e-2, weight_decay=0.1)  # type: ignore[call-arg]
    for seed in range(5):
        updates.zero_grad()
        step(model, seed, updates)
        updates.step()
    for name, mask in masks.items():
        weight = model.get_parameter(name).detach()
        assert (weight[~mask] == 0).all()
        assert (weight[mask] != before[name][mask]).float().mean() > 0.9


def test_a_scaler_that_skips_a_step_leaves_the_zeros() -> None:
    model, masks = pruned()
    updates = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    before = model[0].weight.detach().clone()
    for seed in range(4):
        updates.zero_grad()
        scaler.scale(1e10 * loss(model, batch(seed))).backward()
        scaler.step(updates)
        scaler.update()
    assert scaler.get_scale() < 2.0**100
    assert torch.equal(model[0].weight.detach(), before)
    assert all((model.get_parameter(n).detach()[~m] == 0).all() for n, m in masks.items())


def test_the_forward_pass_has_no_mask_in_it() -> None:
    model, _ = pruned()
    assert [type(module) for module in model.modules()] == [type(m) for m in network().modules()]
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_scoring_leaves_no_trace() -> None:
    model = network().train()
    model[0].eval()
    model[3].bias.requires_grad_(False)
    loss(model, batch(0)).backward()
    gradients = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    prune(
        model,
        tensors=TENSORS,
        sparsity=0.5,
        pruner="snip",
        batches=[batch(1)],
        loss=lambda model, pair: loss(model, pair) + 0 * torch.rand(()),
    )
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in model.modules()] == modes
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    for name, parameter in model.named_parameters():
        grad, was = parameter.grad, gradients[name]
        assert (grad is None) == (was is None)
        assert grad is None or torch.equal(grad, was)


def test_the_masks_know_what_they_removed() -> None:
    _, masks = pruned(0.25)
    total = 8 * 16 + 16 * 4
    report = masks.report()  # type: ignore[attr-defined]
    assert (report["total"], report["removed"]) == (total, total // 4)
    assert sum(tensor["removed"] for tensor in report["by_tensor"].values()) == total // 4
    assert all(mask.dtype == torch.bool for mask in masks.values())
