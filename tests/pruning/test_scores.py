from pathlib import Path

import pytest
import sparsead.conf
import torch
from hydra import compose, initialize_config_module
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

from sparsead.config.run import RunSpec
from sparsead.errors import PruningError
from sparsead.pruning.contract import PRUNERS, Scoring
from sparsead.pruning.magnitude import magnitude
from sparsead.pruning.masks import Masks
from sparsead.pruning.prune import prune

PRUNERS_HERE = (
    "random",
    "magnitude",
    "er",
    "erk",
    "snip",
    "grasp",
    "force",
    "synflow",
    "units",
    "nm",
)
CHOICES = sorted(file.stem for file in Path(sparsead.conf.__path__[0]).glob("pruner/*.yaml"))


class Bottleneck(nn.Module):
    def __init__(self, width, bottleneck):
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)

    def forward(self, x):
        return x + self.up(F.relu(self.down(x)))


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        Bottleneck(12, 8), nn.LayerNorm(12), nn.Dropout(0.1), Bottleneck(12, 4), nn.Linear(12, 3)
    )


NAMES = ["0.down.weight", "0.up.weight", "3.down.weight", "3.up.weight"]


def batches():
    draws = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 12, generator=draws), torch.randint(3, (size,), generator=draws))
        for size in (8, 5)
    ]


def cross_entropy(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


CELLS = [
    (pruner, sparsity)
    for pruner in PRUNERS_HERE
    for sparsity in ((0.5,) if pruner == "nm" else (0.2, 0.4, 0.5, 0.6, 0.8))
]


@pytest.mark.parametrize(("pruner", "sparsity"), CELLS)
def test_every_pruner_removes_the_exact_count_and_leaves_no_trace(pruner, sparsity):
    model = small()
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
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
def test_every_pruner_is_a_function_of_its_inputs(pruner):
    first, again = (
        prune(
            small(),
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


@pytest.mark.parametrize("sparsity", [0.2, 0.4, 0.75])
def test_magnitude_is_torchs_global_l1(sparsity):
    theirs, ours = small(), small()
    torch_prune.global_unstructured(
        [(theirs.get_submodule(name.removesuffix(".weight")), "weight") for name in NAMES],
        pruning_method=torch_prune.L1Unstructured,
        amount=sparsity,
    )
    masks = prune(ours, tensors=NAMES, sparsity=sparsity, pruner="magnitude", minimum_kept=0)
    for name in NAMES:
        assert torch.equal(masks[name], theirs.get_buffer(f"{name}_mask").bool())


def test_magnitude_by_hand():
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[-3.0, 0.5], [0.0, 2.0]])
    scores = magnitude(Scoring(model, dict(model.named_parameters()), [], None, 0.5, 0))
    assert torch.equal(scores["weight"], torch.tensor([[3.0, 0.5], [0.0, 2.0]]))


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_and_binds(choice):
    with initialize_config_module("sparsead.conf", version_base="1.3"):
        config = compose("train", overrides=[f"pruner={choice}"])
    spec = RunSpec.from_config(config)
    assert spec.pruner.name == choice
    PRUNERS.bind(spec.pruner.method, spec.pruner.options)


def test_the_paper_preset_differs_from_snip_in_one_option():
    specs = []
    with initialize_config_module("sparsead.conf", version_base="1.3"):
        for choice in ("snip", "snip_paper"):
            specs.append(RunSpec.from_config(compose("train", overrides=[f"pruner={choice}"])))
    snip, paper = (spec.pruner for spec in specs)
    assert (snip.method, snip.scope, snip.probe) == (paper.method, paper.scope, paper.probe)
    assert paper.options == {**snip.options, "faithful": "paper"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tensors": ["0.down.wieght"]}, r"0\.down\.wieght: .*did you mean 0\.down\.weight\?"),
        ({"tensors": "0.down.weight"}, "must be names"),
        ({"batches": None}, "needs batches"),
        ({"loss": None}, "needs a loss"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(arguments, message):
    given = {"tensors": NAMES, "batches": batches(), "loss": cross_entropy} | arguments
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(PruningError, match=message) as refused:
        prune(model, pruner="snip", sparsity=0.4, **given)
    assert "\n" not in str(refused.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("pruner", "options", "read"),
    [("random", {}, False), ("units", {"criterion": "magnitude"}, False), ("snip", {}, True)],
)
def test_masks_say_whether_data_was_read_also_from_their_file(tmp_path, pruner, options, read):
    masks = prune(
        small(),
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
