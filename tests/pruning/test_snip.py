from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.contract import Scoring
from sparsead.pruning.prune import prune
from sparsead.pruning.snip import snip


class Quadratic(nn.Module):
    """L = 0.5 wᵀAw - bᵀw over a vector and a matrix; a batch holds one b a row."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Parameter(torch.randn(3, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(2, 2, dtype=torch.float64))
        root = torch.randn(7, 7, dtype=torch.float64)
        self.curvature = root + root.T

    def weights(self):
        return torch.cat([self.first, self.second.flatten()])

    def forward(self, b):
        w = self.weights()
        return (0.5 * w @ self.curvature @ w - b @ w).mean()


def evaluate(model, batch):
    return model(batch)


def cross_entropy(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def mlp(dropout=0.0):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(dropout), nn.Linear(5, 3))
    return model.double().eval()


def examples(count=12):
    draws = torch.Generator().manual_seed(2)
    inputs = torch.randn(count, 4, generator=draws, dtype=torch.float64)
    return inputs, torch.randint(3, (count,), generator=draws)


def split(data, sizes):
    return list(zip(*(part.split(sizes) for part in data), strict=True))


def scoring(model, batches, loss, sparsity=0.5, seed=0):
    tensors = {
        name: tensor for name, tensor in model.named_parameters() if not name.endswith("bias")
    }
    return Scoring(model, tensors, batches, loss, sparsity, seed)


def flat(scores):
    return torch.cat([score.flatten() for score in scores.values()])


def test_quadratic_has_its_closed_form():
    model, b = Quadratic(), torch.randn(5, 7, dtype=torch.float64)
    w = model.weights().detach()
    expected = (w * (model.curvature @ w - b.mean(0))).abs()
    scores = snip(scoring(model, list(b.split([2, 3])), evaluate))
    assert scores["second"].shape == (2, 2)
    torch.testing.assert_close(flat(scores), expected)


def test_scores_are_central_differences_of_the_loss():
    model, data = mlp(), examples()
    scores = snip(scoring(model, [data], cross_entropy))
    step = 1e-6
    for name, score in scores.items():
        weights = model.get_parameter(name).data.view(-1)
        for index, value in enumerate(weights.clone()):
            losses = []
            for sign in (1, -1):
                weights[index] = value + sign * step
                losses.append(cross_entropy(model, data).item())
            weights[index] = value
            slope = (losses[0] - losses[1]) / (2 * step)
            expected = abs(value.item() * slope)
            assert score.flatten()[index].item() == pytest.approx(expected, abs=1e-8)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.lists(st.integers(1, 11), max_size=4), st.floats(1e-3, 1e3))
def test_batch_sizes_and_the_scale_of_the_loss_change_no_order(cuts, scale):
    model, data = mlp(), examples()
    edges = [0, *sorted(set(cuts)), 12]
    sizes = [after - before for before, after in pairwise(edges)]
    whole = flat(snip(scoring(model, [data], cross_entropy)))
    parts = snip(
        scoring(model, split(data, sizes), lambda m, batch: scale * cross_entropy(m, batch))
    )
    torch.testing.assert_close(flat(parts), scale * whole)
    assert torch.equal(flat(parts).argsort(), whole.argsort())


def test_faithful_paper_keeps_the_sign():
    task = scoring(mlp(), [examples()], cross_entropy)
    signed = flat(snip(task, faithful="paper"))
    assert (signed < 0).any()
    torch.testing.assert_close(signed.abs(), flat(snip(task)))
    gradients = task.mean_gradients()
    z = -flat({name: w.detach() * gradients[name] for name, w in task.tensors.items()})
    assert torch.equal(signed.argsort(), z.argsort(descending=True))


def test_train_mode_averages_seeded_dropout():
    def scores(model, seed=0):
        task = scoring(model, [examples()], cross_entropy, seed=seed)
        return flat(snip(task, mode="train", draws=3))

    torch.testing.assert_close(
        scores(mlp()), flat(snip(scoring(mlp(), [examples()], cross_entropy)))
    )
    model = mlp(dropout=0.5)
    first, again, other = (scores(model, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert not any(module.training for module in model.modules())


def test_many_draws_approach_the_expected_gradient():
    # Dropout before a linear loss: the expected gradient is the one without dropout.
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 1, bias=False)).double().eval()
    inputs = torch.rand(50, 6, dtype=torch.float64)
    task = scoring(model, [inputs], lambda m, batch: m(batch).mean())
    averaged = snip(task, mode="train", draws=400)
    torch.testing.assert_close(flat(averaged), flat(snip(task)), rtol=0.1, atol=0)


def test_train_mode_through_prune_leaves_modes_statistics_and_random_state():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 3))
    model[2].eval()
    modes = [module.training for module in model.modules()]
    statistics, state = model[1].running_mean.clone(), torch.get_rng_state()
    inputs, labels = examples()
    prune(
        model,
        tensors=["0.weight", "3.weight"],
        sparsity=0.5,
        batches=[(inputs.float(), labels)],
        loss=cross_entropy,
        mode="train",
        draws=2,
    )
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model[1].running_mean, statistics)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "trian"}, "did you mean train"),
        ({"faithful": "papr"}, "did you mean paper"),
        ({"draws": 2}, "pruner.mode=train"),
        ({"mode": "train", "draws": 0}, "at least 1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        snip(scoring(mlp(), [examples()], cross_entropy), **options)


def test_no_batches_are_refused():
    with pytest.raises(PruningError, match="needs batches"):
        snip(scoring(mlp(), [], cross_entropy))
