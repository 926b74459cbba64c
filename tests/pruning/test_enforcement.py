"""The masks of a model cannot be lost: removed weights stay exactly zero whatever happens to it."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.utils.parametrizations import weight_norm

from composing import compose
from exhaustive import spread
from pruning_cases import WEIGHTS, classifier, cross_entropy, draw_examples
from sparsead.assembly.build import build_adapter
from sparsead.errors import PruningError
from sparsead.pruning.masks import Masks
from sparsead.pruning.prune import prune
from tiny_models import tiny_classifier

BATCH = draw_examples(32, 8, 4)


def pruned() -> tuple[nn.Sequential, Masks]:
    model = classifier(8, 16, 4)
    masks = prune(model, tensors=WEIGHTS, sparsity=0.5, batches=[BATCH], loss=cross_entropy)
    return model, masks


def dense_state() -> dict[str, Tensor]:
    """Return weights without any zero, as a checkpoint from before pruning has them."""
    return {name: value.detach().clone() for name, value in classifier(8, 16, 4).named_parameters()}


def assert_kept_at_zero(model: nn.Module, masks: Masks) -> None:
    for name, mask in masks.items():
        weight = model.get_parameter(name).detach()
        assert (weight[~mask] == 0).all(), name
        assert (weight[mask] != 0).any(), name


class Plain(torch.optim.Optimizer):
    """An optimiser that moves every weight, whatever its gradient."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.add_(0.01)


OPTIMISERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "AdamW": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1),
    "NAdam": lambda model: torch.optim.NAdam(model.parameters(), lr=0.01),
    "Adagrad": lambda model: torch.optim.Adagrad(model.parameters(), lr=0.01),
    "Rprop": lambda model: torch.optim.Rprop(model.parameters()),
    "Adafactor": lambda model: torch.optim.Adafactor(model.parameters(), lr=0.01),
    "LBFGS": lambda model: torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4),
    "Muon": lambda model: torch.optim.Muon([model.get_parameter(n) for n in WEIGHTS], lr=0.01),
    "moves every weight": lambda model: Plain(model.parameters()),
}


def train(model: nn.Module, optimiser: Any, steps: int = 3) -> None:
    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(model, BATCH)
        loss.backward()
        return loss

    for _ in range(steps):
        closure()
        optimiser.step(closure if isinstance(optimiser, torch.optim.LBFGS) else None)


def saved_and_loaded(model: nn.Sequential) -> nn.Sequential:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded: nn.Sequential = torch.load(file, weights_only=False)
    return loaded


def with_dense_weights(model: nn.Sequential) -> nn.Sequential:
    model.load_state_dict(dense_state())
    return model


def with_assigned_weights(model: nn.Sequential) -> nn.Sequential:
    model.load_state_dict(dense_state(), assign=True)
    return model


def loaded_from_meta(model: nn.Sequential) -> nn.Sequential:
    model.to("meta")
    model.load_state_dict(dense_state(), assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def with_another_parameter(model: nn.Sequential) -> nn.Sequential:
    for name in WEIGHTS:
        module = model.get_submodule(name.removesuffix(".weight"))
        module.weight = nn.Parameter(torch.ones_like(model.get_parameter(name)))
    model(BATCH[0])  # the parameter is found when the model is next used
    return model


def converted_and_back(model: nn.Sequential) -> nn.Sequential:
    return model.to(torch.bfloat16).to(torch.float32)


def copied_layer_by_layer(model: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(*(copy.deepcopy(layer) for layer in model))


def frozen_copy_that_trains_again(model: nn.Sequential) -> nn.Sequential:
    frozen = copy.deepcopy(model).requires_grad_(False)
    frozen(BATCH[0])
    return frozen.requires_grad_(True)


EVENTS: dict[str, Callable[[nn.Sequential], nn.Sequential]] = {
    "nothing": lambda model: model,
    "copy.deepcopy": copy.deepcopy,
    "a copy of a copy": lambda model: copy.deepcopy(copy.deepcopy(model)),
    "copies of the layers": copied_layer_by_layer,
    "torch.save and torch.load": saved_and_loaded,
    "load_state_dict": with_dense_weights,
    "load_state_dict(assign=True)": with_assigned_weights,
    "load_state_dict from meta": loaded_from_meta,
    "a new parameter": with_another_parameter,
    "another dtype": converted_and_back,
    "a frozen copy": frozen_copy_that_trains_again,
}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("event", EVENTS)
def test_removed_weights_stay_zero_after(event: str, optimiser: str) -> None:
    model, masks = pruned()
    model = EVENTS[event](model)
    assert_kept_at_zero(model, masks)
    before = {name: model.get_parameter(name).detach().clone() for name in WEIGHTS}
    train(model, OPTIMISERS[optimiser](model))
    assert_kept_at_zero(model, masks)
    for name, mask in masks.items():
        moved = model.get_parameter(name).detach()[mask] != before[name][mask]
        assert moved.float().mean() > 0.5


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_moments_from_before_pruning_move_no_removed_weight(optimiser: str) -> None:
    model = classifier(8, 16, 4)
    updates = OPTIMISERS[optimiser](model)
    train(model, updates)
    masks = prune(model, tensors=WEIGHTS, sparsity=0.5, batches=[BATCH], loss=cross_entropy)
    train(model, updates)
    assert_kept_at_zero(model, masks)


def test_a_loss_of_several_outputs_has_the_gradients_of_the_same_weights() -> None:
    model, masks = pruned()
    first, second = (draw_examples(6, 8, 4, seed=seed)[0] for seed in (1, 2))
    plain = classifier(8, 16, 4)
    plain.load_state_dict(model.state_dict())

    def loss(of: nn.Module) -> Tensor:
        outputs = of(first)
        of.state_dict()  # as a checkpoint or a moving average reads it
        return torch.nn.functional.mse_loss(outputs, of(second))

    for each in (model, plain):
        loss(each).backward()
    for name, mask in masks.items():
        expected, found = (each.get_parameter(name).grad for each in (plain, model))
        assert expected is not None
        assert found is not None
        assert torch.equal(found, expected * mask)


def test_weights_that_are_changed_by_hand_are_zero_where_they_are_used_or_saved() -> None:
    model, masks = pruned()
    dense = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    for name, weight in model.state_dict().items():
        assert name not in masks or (weight[~masks[name]] == 0).all()
    for parameter in model.parameters():
        parameter.data = parameter.data - 1.0
    torch.testing.assert_close(model(BATCH[0]), dense(BATCH[0]))
    assert_kept_at_zero(model, masks)


@pytest.mark.slow
def test_a_model_from_a_file_keeps_its_masks_beside_new_hooks_in_another_process(
    tmp_path: Path,
) -> None:
    model, masks = pruned()
    torch.save(model, tmp_path / "model.pt")
    torch.save(dict(masks), tmp_path / "masks.pt")
    code = f"""
import torch
model = torch.load({str(tmp_path / "model.pt")!r}, weights_only=False)
masks = torch.load({str(tmp_path / "masks.pt")!r})
for module in model:
    for _ in range(20):
        module.register_forward_pre_hook(lambda *_: None)
updates = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for _ in range(3):
    model(torch.randn(5, 8)).square().mean().backward()
    updates.step()
assert all((model.get_parameter(n)[~mask] == 0).all() for n, mask in masks.items())
matrices = [p for p in model.parameters() if p.dim() == 2]
mixing = torch.optim.Muon(matrices, lr=0.1)  # moves all weights of a matrix
model(torch.randn(5, 8)).square().mean().backward()
mixing.step()
assert all((model.get_parameter(n)[~mask] == 0).all() for n, mask in masks.items())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("copied", [False, True])
def test_gradients_of_torch_func_are_masked(copied: bool) -> None:
    model, masks = pruned()
    model = copy.deepcopy(model) if copied else model
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}

    def loss(values: dict[str, Tensor]) -> Tensor:
        outputs = functional_call(model, values, (BATCH[0],))
        return nn.functional.cross_entropy(outputs, BATCH[1])

    for _ in range(3):
        gradients = grad(loss)(weights)
        weights = {name: value - 0.1 * gradients[name] for name, value in weights.items()}
    for name, mask in masks.items():
        assert (weights[name][~mask] == 0).all()
        assert (gradients[name][mask] != 0).any()


def test_functional_call_computes_without_removed_weights_of_a_dense_state() -> None:
    model, _ = pruned()
    dense = dense_state()
    outputs = functional_call(model, dense, (BATCH[0],))
    torch.testing.assert_close(outputs, with_dense_weights(model)(BATCH[0]))


def test_ensembles_of_vmap_are_masked() -> None:
    models = [pruned()[0] for _ in range(3)]
    _, masks = pruned()
    weights, buffers = stack_module_state(models)
    base = copy.deepcopy(models[0])

    def loss(values: dict[str, Tensor], inputs: Tensor) -> Tensor:
        outputs: Tensor = functional_call(base, (values, buffers), (inputs,))
        return outputs.square().mean()

    gradients = vmap(grad(loss), in_dims=(0, None))(weights, BATCH[0])
    for name, mask in masks.items():
        assert (gradients[name][:, ~mask] == 0).all()
        assert (gradients[name][:, mask] != 0).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "backend"),
    spread(2, ["nothing", "copy.deepcopy", "torch.save and torch.load"], ["aot_eager", "inductor"]),
)
def test_compiled_models_are_masked(event: str, backend: str) -> None:
    torch._dynamo.reset()
    model, masks = pruned()
    model = EVENTS[event](model)
    compiled: Any = torch.compile(model, backend=backend)
    train(compiled, OPTIMISERS["SGD"](model))
    assert_kept_at_zero(model, masks)


@pytest.mark.slow
def test_a_pruned_model_compiles_as_one_graph() -> None:
    torch._dynamo.reset()
    model, _ = pruned()
    compiled: Any = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(BATCH[0]), model(BATCH[0]))


class Attending(nn.Module):
    """nn.MultiheadAttention uses the weight of its output projection without calling that."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        attended: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return attended


@pytest.mark.parametrize("whole", [True, False])
def test_a_parameter_that_its_parent_uses_is_masked_in_a_copy(whole: bool) -> None:
    model, name = Attending(), "attention.out_proj.weight"
    masks = prune(model, tensors=[name], sparsity=0.5, pruner="magnitude")
    copied = copy.deepcopy(model)
    if not whole:
        copied = Attending()
        copied.attention = copy.deepcopy(model.attention)
    updates = torch.optim.SGD(copied.parameters(), lr=0.1)
    for _ in range(2):
        copied(torch.randn(2, 3, 8)).square().mean().backward()
        updates.step()
    assert_kept_at_zero(copied, masks)


def test_a_copy_of_an_adapter_without_whole_units_is_masked() -> None:
    spec = compose("backbone=tiny-bert", "adapter=houlsby", "adapter.bottleneck=48")
    adapted = build_adapter(spec).insert(tiny_classifier(), 1)
    masks = prune(adapted.model, tensors=adapted.prunable, sparsity=0.7, pruner="units", **UNITS)
    model = copy.deepcopy(adapted.model)
    assert any(getattr(module, "computed", None) is not None for module in model.modules())
    updates = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.01)
    for _ in range(2):
        model(input_ids=torch.tensor([[2, 7, 8, 3]]), labels=torch.tensor([1])).loss.backward()
        updates.step()
    for name, mask in masks.items():
        assert (model.get_parameter(name)[~mask] == 0).all()


UNITS: dict[str, Any] = {"criterion": "magnitude", "minimum_kept": 0}


def test_data_parallel_replicas_are_left_to_their_original() -> None:
    model, masks = pruned()
    replica = model._replicate_for_data_parallel()
    assert replica._is_replica
    replica(BATCH[0])
    assert_kept_at_zero(model, masks)


def test_other_masks_replace_the_first_ones() -> None:
    model, first = pruned()
    second = Masks({name: ~mask for name, mask in first.items()})
    second.enforce(model)
    train(model, OPTIMISERS["AdamW"](model))
    assert_kept_at_zero(model, second)


def test_what_cannot_be_kept_at_zero_is_refused() -> None:
    model, _ = pruned()
    weight_norm(model[0])
    with pytest.raises(PruningError, match=r"weight: was pruned, and is no longer a parameter"):
        model(BATCH[0])
    model, _ = pruned()
    model[0].weight = nn.Parameter(torch.ones(3, 8))
    with pytest.raises(PruningError, match=r"weight: was pruned with the shape \(16, 8\)"):
        model(BATCH[0])


def test_a_copy_of_a_pruned_model_counts_as_pruned() -> None:
    model = copy.deepcopy(pruned()[0])
    with pytest.raises(PruningError, match="was pruned before"):
        prune(model, tensors=WEIGHTS, sparsity=0.5, pruner="magnitude")


def test_a_submodule_that_was_taken_out_is_no_hindrance() -> None:
    model, masks = pruned()
    model[3] = nn.Identity()
    model(BATCH[0])
    assert (model.get_parameter(WEIGHTS[0])[~masks[WEIGHTS[0]]] == 0).all()
