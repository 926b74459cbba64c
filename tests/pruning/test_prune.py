from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BatchEncoding

from pruning_cases import Examples, copy_parameters, cross_entropy, draw_examples, split
from sparsead.errors import PruningError
from sparsead.pruning.examples import split_examples
from sparsead.pruning.masks import Masks
from sparsead.pruning.prune import prune

PRUNERS_HERE = (
    "random",
    "magnitude",
    "er",
    "erk",
    "snip",
    "gradient",
    "fisher",
    "taylor",
    "grasp",
    "force",
    "synflow",
    "units",
    "nm",
)
NAMES = ["0.down.weight", "0.up.weight", "3.down.weight", "3.up.weight"]


class Bottleneck(nn.Module):
    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = self.up(F.relu(self.down(x)))
        return x + update


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        Bottleneck(12, 8), nn.LayerNorm(12), nn.Dropout(0.1), Bottleneck(12, 4), nn.Linear(12, 3)
    )


def batches() -> list[Examples]:
    return split(draw_examples(13, width=12), [8, 5])


CELLS = [
    (pruner, sparsity)
    for pruner in PRUNERS_HERE
    for sparsity in ((0.5,) if pruner == "nm" else (0.2, 0.4, 0.5, 0.6, 0.8))
]


@pytest.mark.parametrize(("pruner", "sparsity"), CELLS)
def test_every_pruner_removes_the_exact_count_and_leaves_no_trace(
    pruner: str, sparsity: float
) -> None:
    model = network()
    before = copy_parameters(model)
    required = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    masks = prune(
        model,
        tensors=NAMES,
        sparsity=sparsity,
        pruner=pruner,
        batches=batches(),
        loss=cross_entropy,
        seed=5,
    )
    assert masks.removed == round(sparsity * masks.total)
    for name, parameter in model.named_parameters():
        kept = masks.get(name, torch.ones(()))
        assert torch.equal(parameter.detach(), before[name] * kept)
        assert parameter.grad is None
    assert [parameter.requires_grad for parameter in model.parameters()] == required
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("pruner", PRUNERS_HERE)
def test_every_pruner_is_a_function_of_its_inputs(pruner: str) -> None:
    first, again = (
        prune(
            network(),
            tensors=NAMES,
            sparsity=0.5,
            pruner=pruner,
            batches=batches(),
            loss=cross_entropy,
            seed=5,
        )
        for _ in range(2)
    )
    assert all(torch.equal(first[name], again[name]) for name in NAMES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tensors": ["0.down.wieght"]}, r"0\.down\.wieght: .*did you mean 0\.down\.weight\?"),
        ({"tensors": "0.down.weight"}, "must be names"),
        ({"batches": None}, "needs batches"),
        ({"loss": None}, "needs a loss"),
        ({"control": "reinit", "redraw": "x"}, "redraw='x': must be a function"),
        ({"sparsity": 0, "control": "shuffle"}, "control=shuffle: at sparsity=0 there is nothing"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(
    arguments: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {
        "tensors": NAMES,
        "batches": batches(),
        "loss": cross_entropy,
        "sparsity": 0.4,
    } | arguments
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(PruningError, match=message) as refused:
        prune(model, pruner="snip", **given)
    assert "\n" not in str(refused.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_sparsity_may_be_a_tensor() -> None:
    given: dict[str, Any] = {"tensors": NAMES, "pruner": "random", "seed": 3}
    one = prune(network(), **given, sparsity=0.4)
    as_tensor: Any = torch.tensor(0.4)
    other = prune(network(), **given, sparsity=as_tensor)
    assert all(torch.equal(one[name], other[name]) for name in NAMES)


class Pair(NamedTuple):
    x: Tensor
    labels: Tensor


def test_examples_have_the_form_of_their_batch() -> None:
    x, labels = torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 1])
    for batch in (Pair(x, labels), BatchEncoding({"x": x, "labels": labels})):
        parts = split_examples(batch)
        assert {type(part) for part in parts} == {type(batch)}
        assert torch.equal(torch.cat([part.x for part in parts]), x)
        assert torch.equal(torch.cat([part.labels for part in parts]), labels)


def test_batches_without_a_label_are_refused() -> None:
    unlabelled = [{"labels": torch.full((2, 3), -100)}]
    with pytest.raises(PruningError, match="have no labels: all of them are -100"):
        prune(
            network(),
            tensors=NAMES,
            sparsity=0.4,
            batches=unlabelled,
            loss=lambda model, _: model(torch.ones(2, 12)).sum(),
        )


def test_a_redraw_that_lacks_a_tensor_changes_none() -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = model.get_parameter(NAMES[0])
    with pytest.raises(PruningError, match="redraw returned no"):
        prune(
            model,
            tensors=NAMES,
            sparsity=0.4,
            pruner="random",
            control="reinit",
            redraw=lambda: {NAMES[0]: torch.zeros_like(first)},
        )
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_masks_that_do_not_fit_leave_a_model_as_it_is() -> None:
    masks = prune(network(), tensors=NAMES, sparsity=0.4, pruner="random")
    for other in (nn.Sequential(nn.Linear(3, 3)), nn.Sequential()):
        with pytest.raises(PruningError, match=r"0\.\S+: the model has no such parameter"):
            masks.enforce(other)
    other = network()
    wide = other.get_parameter(NAMES[-1])
    wide.data = torch.ones(*(size + 1 for size in wide.shape))
    with pytest.raises(PruningError, match="has the shape"):
        masks.enforce(other)
    assert not any(module._forward_pre_hooks for module in other.modules())


@pytest.mark.parametrize(
    ("pruner", "options", "read"),
    [("random", {}, False), ("units", {"criterion": "magnitude"}, False), ("snip", {}, True)],
)
def test_masks_say_whether_data_was_read_also_from_their_file(
    tmp_path: Path, pruner: str, options: dict[str, Any], read: bool
) -> None:
    masks = prune(
        network(),
        tensors=NAMES,
        pruner=pruner,
        sparsity=0.4,
        batches=iter(batches()),
        loss=cross_entropy,
        **options,
    )
    masks.save(tmp_path / "masks.safetensors")
    again = Masks.load(tmp_path / "masks.safetensors")
    assert (masks.data_read, again.data_read) == (read, read)
    assert all(torch.equal(again[name], mask) for name, mask in masks.items())
