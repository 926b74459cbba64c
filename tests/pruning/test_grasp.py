import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification

from sparsead.pruning.contract import Scoring
from sparsead.pruning.grasp import grasp
from sparsead.pruning.prune import prune
from sparsead.pruning.scoring import undisturbed


def flat(scores):
    return torch.cat([score.flatten() for score in scores.values()])


class Quadratic(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Parameter(torch.randn(3, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(2, 2, dtype=torch.float64))
        root = torch.randn(7, 7, dtype=torch.float64)
        self.curvature = root + root.T

    def forward(self, b):
        w = torch.cat([self.first, self.second.flatten()])
        return (0.5 * w @ self.curvature @ w - b @ w).mean()


def test_quadratic_has_its_closed_form():
    model, b = Quadratic(), torch.randn(5, 7, dtype=torch.float64)
    w = torch.cat([model.first, model.second.flatten()]).detach()
    gradient = model.curvature @ w - b.mean(0)
    task = Scoring(
        model, dict(model.named_parameters()), list(b.split([1, 4])), lambda m, x: m(x), 0.5, 0
    )
    torch.testing.assert_close(flat(grasp(task)), w * (model.curvature @ gradient))


@pytest.mark.parametrize("sizes", [[10], [3, 7], [2, 2, 6]])
def test_scores_are_those_of_the_explicit_hessian(sizes):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 3)).double()
    inputs, labels = torch.randn(10, 3, dtype=torch.float64), torch.randint(3, (10,))
    tensors = {name: model.get_parameter(name) for name in ("0.weight", "2.weight")}

    def loss_at(vector):
        parts = vector.split([12, 12])
        weights = {"0.weight": parts[0].view(4, 3), "2.weight": parts[1].view(3, 4)}
        return F.cross_entropy(functional_call(model, weights, (inputs,)), labels)

    w = torch.cat([tensor.detach().flatten() for tensor in tensors.values()])
    hessian = torch.autograd.functional.hessian(loss_at, w)
    gradient = torch.autograd.functional.jacobian(loss_at, w)
    batches = list(zip(inputs.split(sizes), labels.split(sizes), strict=True))
    task = Scoring(model, tensors, batches, lambda m, b: F.cross_entropy(m(b[0]), b[1]), 0.5, 0)
    torch.testing.assert_close(flat(grasp(task)), w * (hessian @ gradient))


def test_tensors_that_are_linear_or_unused_score_zero():
    model = nn.Module()
    model.used = nn.Parameter(torch.ones(2))
    model.unused = nn.Parameter(torch.ones(2))
    tensors = dict(model.named_parameters())
    scores = grasp(Scoring(model, tensors, [torch.ones(1)], lambda m, _: m.used.sum(), 0.5, 0))
    assert not flat(scores).any()


def bert(attention):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.2,
    )
    config._attn_implementation = attention
    return BertForSequenceClassification(config)


def text_batches():
    draws = torch.Generator().manual_seed(0)
    mask = torch.ones(6, 9, dtype=torch.long)
    mask[::2, 6:] = 0
    batch = {
        "input_ids": torch.randint(40, (6, 9), generator=draws),
        "attention_mask": mask,
        "labels": torch.tensor([0, 1, 0, 1, 1, 0]),
    }
    return [{key: value[part] for key, value in batch.items()} for part in (slice(2), slice(2, 6))]


def names_of(model):
    # Below the last layer, so that the second derivative passes through attention.
    return [name for name, p in model.named_parameters() if "layer.0" in name and p.dim() == 2]


def test_bert_with_sdpa_scores_as_with_eager_attention():
    scores = {}
    for attention in ("sdpa", "eager"):
        model = bert(attention)
        assert model.config._attn_implementation == attention
        tensors = {name: model.get_parameter(name) for name in names_of(model)}
        task = Scoring(model, tensors, text_batches(), lambda m, b: m(**b).loss, 0.5, 0)
        with undisturbed(model, tensors):
            scores[attention] = flat(grasp(task))
    assert scores["sdpa"].abs().max() > 1e-3
    torch.testing.assert_close(scores["sdpa"], scores["eager"], rtol=1e-5, atol=1e-5)


def test_bert_is_pruned_as_wanted():
    model = bert("sdpa")
    names = names_of(model)
    masks = prune(
        model,
        tensors=names,
        sparsity=0.4,
        pruner="grasp",
        batches=text_batches(),
        loss=lambda m, b: m(**b).loss,
    )
    assert masks.removed == round(0.4 * masks.total)
    assert all(parameter.grad is None for parameter in model.parameters())
