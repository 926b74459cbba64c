"""Removed weights stay exactly zero, whatever training does to the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pruning_cases import (
    WEIGHTS,
    Examples,
    classifier,
    copy_parameters,
    cross_entropy,
    draw_examples,
)
from sparsead.pruning.masks import Masks
from sparsead.pruning.prune import prune

KEEPING_ZEROS = ("aten::view", "aten::bitwise_and_", "aten::detach")


def network() -> nn.Sequential:
    return classifier(8, 16, 4, dropout=0.5)


def batch(seed: int) -> Examples:
    return draw_examples(32, 8, 4, seed=seed)


def pruned(sparsity: float = 0.5) -> tuple[nn.Sequential, Masks]:
    model = network()
    batches = [batch(seed) for seed in range(4)]
    masks = prune(model, tensors=WEIGHTS, sparsity=sparsity, batches=batches, loss=cross_entropy)
    return model, masks


def plain(model: nn.Module, seed: int) -> None:
    cross_entropy(model, batch(seed)).backward()


def accumulated(model: nn.Module, seed: int) -> None:
    for part in range(3):
        (cross_entropy(model, batch(10 * seed + part)) / 3).backward()


def clipped(model: nn.Module, seed: int) -> None:
    (1e4 * cross_entropy(model, batch(seed))).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)


def autocast(model: nn.Module, seed: int) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        value = cross_entropy(model, batch(seed))
    value.backward()


def checkpointed(model: nn.Module, seed: int) -> None:
    inputs, classes = batch(seed)
    outputs = torch.utils.checkpoint.checkpoint(model, inputs, use_reentrant=False)
    nn.functional.cross_entropy(outputs, classes).backward()


def overflowing(model: nn.Module, seed: int) -> None:
    """Infinite and NaN gradients, as a GradScaler has to handle them."""
    (cross_entropy(model, batch(seed)) * float("inf")).backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None
        if name in WEIGHTS:
            assert not gradient.isfinite().all()
            assert (gradient[parameter.detach() == 0] == 0).all()
        gradient.nan_to_num_(0.0, 1.0, -1.0)


@pytest.mark.parametrize("step", [plain, accumulated, clipped, autocast, checkpointed, overflowing])
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop])
def test_removed_weights_stay_zero_and_kept_ones_train(
    step: Callable[[nn.Module, int], None], optimizer: Callable[..., torch.optim.Optimizer]
) -> None:
    model, masks = pruned()
    before = copy_parameters(model)
    updates = optimizer(model.parameters(), lr=1e-2, weight_decay=0.1)
    for seed in range(5):
        updates.zero_grad()
        step(model, seed)
        updates.step()
    for name, mask in masks.items():
        weight = model.get_parameter(name).detach()
        assert (weight[~mask] == 0).all()
        assert (weight[mask] != before[name][mask]).float().mean() > 0.9


def test_a_scaler_that_skips_a_step_leaves_the_zeros() -> None:
    model, masks = pruned()
    updates = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    before = copy_parameters(model)
    for seed in range(4):
        updates.zero_grad()
        scaler.scale(1e10 * cross_entropy(model, batch(seed))).backward()
        scaler.step(updates)
        scaler.update()
    assert scaler.get_scale() < 2.0**100
    assert all(torch.equal(p.detach(), before[name]) for name, p in model.named_parameters())
    assert all((model.get_parameter(n).detach()[~m] == 0).all() for n, m in masks.items())


def test_the_forward_pass_has_no_mask_in_it() -> None:
    model, _ = pruned()
    assert [type(module) for module in model.modules()] == [type(m) for m in network().modules()]
    assert operations(model) == operations(network())


def operations(model: nn.Module) -> list[str]:
    """Return the operations that compute the outputs, without those that keep zeros."""
    with torch.profiler.profile() as profiled:
        model(batch(0)[0])
    names = [event.name for event in profiled.events()]
    return [name for name in names if name.startswith("aten::") and name not in KEEPING_ZEROS]


def test_the_masks_know_what_they_removed() -> None:
    _, masks = pruned(0.25)
    total = 8 * 16 + 16 * 4
    report = masks.summary()
    assert (report["total"], report["removed"]) == (total, total // 4)
    assert sum(tensor["removed"] for tensor in report["by_tensor"].values()) == total // 4
    assert all(mask.dtype == torch.bool for mask in masks.values())
