import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification

from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.budget import masks_from_scores
from sparsead.pruning.contract import Scoring
from sparsead.pruning.force import force
from sparsead.pruning.prune import prune
from sparsead.pruning.snip import snip
from sparsead.pruning.synflow import synflow

NAMES = ("0.weight", "2.weight")


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def task(model, sparsity=0.8, batches=None):
    draws = torch.Generator().manual_seed(2)
    data = (torch.randn(20, 6, generator=draws), torch.randint(3, (20,), generator=draws))
    tensors = {name: model.get_parameter(name) for name in NAMES}

    def loss(m, batch):
        return F.cross_entropy(m(batch[0]), batch[1])

    return Scoring(model, tensors, [data] if batches is None else batches, loss, sparsity, 0)


def bits(model):
    return {name: tensor.clone().view(torch.int32) for name, tensor in model.named_parameters()}


def unchanged(model, before):
    return all(torch.equal(value, before[name]) for name, value in bits(model).items())


def test_force_of_one_round_is_snip():
    scores, expected = force(task(mlp()), rounds=1), snip(task(mlp()))
    assert all(torch.equal(scores[name], expected[name]) for name in NAMES)


def test_force_takes_the_gradient_at_the_masked_weights():
    model = mlp()
    scoring = task(model)
    half_way = masks_from_scores(
        snip(scoring), 1 - 0.2**0.5, scope="global", minimum_kept=0, seed=0
    )
    masked = mlp()
    with torch.no_grad():
        for name in NAMES:
            masked.get_parameter(name).mul_(half_way[name])
    gradients = task(masked).mean_gradients()
    scores = force(scoring, rounds=2)
    for name in NAMES:
        original = model.get_parameter(name).detach()
        torch.testing.assert_close(scores[name], (original * gradients[name]).abs())
        assert scores[name][~half_way[name]].any()


@pytest.mark.parametrize("pruner", [force, synflow])
def test_weights_stay_bit_identical(pruner):
    model = mlp()
    with torch.no_grad():
        model[0].weight[0, :2] = torch.tensor([-0.0, 0.0])
    before = bits(model)
    pruner(task(model), rounds=5)
    assert unchanged(model, before)


def test_weights_are_put_back_when_scoring_fails():
    model = mlp()
    before, scoring = bits(model), task(mlp())
    calls = []

    def failing(m, batch):
        calls.append(batch)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return scoring.loss(m, batch)

    broken = Scoring(model, task(model).tensors, scoring.batches, failing, 0.8, 0)
    with pytest.raises(RuntimeError, match="out of memory"):
        force(broken, rounds=5)
    assert unchanged(model, before)


@pytest.mark.parametrize("pruner", [force, synflow])
def test_no_rounds_are_refused(pruner):
    with pytest.raises(ConfigError, match=r"pruner\.rounds=0"):
        pruner(task(mlp()), rounds=0)


def chain(depth=4, width=5, scale=1.0):
    torch.manual_seed(3)
    layers = [nn.Linear(width, width, bias=False) for _ in range(depth)]
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def flow_task(model, batches, sparsity=0.5):
    return Scoring(model, dict(model.named_parameters()), batches, None, sparsity, 0)


def test_synflow_of_a_linear_chain_has_its_closed_form_and_is_conserved():
    model = chain()
    scores = synflow(flow_task(model, [torch.randn(1, 5)]), rounds=1)
    first, second, third, fourth = (p.detach().abs().double() for p in model.parameters())
    ones = torch.ones(5, dtype=torch.float64)
    expected = (ones @ fourth @ third)[:, None] * second * (first @ ones)[None, :]
    torch.testing.assert_close(scores["1.weight"], expected)
    total = ones @ fourth @ third @ second @ first @ ones
    for score in scores.values():
        torch.testing.assert_close(score.sum(), total)


def test_synflow_looks_at_no_data_and_not_at_the_batch_size():
    model = chain()
    one = synflow(flow_task(model, [torch.randn(1, 5)]), rounds=3)
    many = synflow(flow_task(model, [torch.randn(4, 5), torch.randn(9, 5)]), rounds=3)
    for name in one:
        torch.testing.assert_close(4 * one[name], many[name])


def test_synflow_does_not_overflow_where_float32_would():
    model = chain(depth=40, scale=1e3)
    scores = synflow(flow_task(model, [torch.ones(1, 5)]))
    assert all(score.isfinite().all() for score in scores.values())
    assert max(score.max() for score in scores.values()) > torch.finfo(torch.float32).max


def test_synflow_in_rounds_disconnects_no_layer():
    # 25 of 1,000 weights stay: far above the 4 that one path needs, far below what one shot takes.
    model = nn.Sequential(*(nn.Linear(10, 10, bias=False) for _ in range(10)))
    names = [name for name, _ in model.named_parameters()]
    masks = prune(
        model,
        tensors=names,
        sparsity=0.975,
        pruner="synflow",
        batches=[torch.ones(1, 10)],
        minimum_kept=0,
        rounds=100,
    )
    assert masks.removed == 975
    path = torch.ones(10)
    for mask in masks.values():
        path = mask.float() @ path
    assert path.any()


def test_synflow_keeps_what_earlier_rounds_removed_at_zero():
    scores = synflow(task(mlp(), sparsity=0.8), rounds=4)
    removed = sum(int((score == 0).sum()) for score in scores.values())
    assert removed >= round((1 - 0.2**0.75) * 72)


def test_synflow_scores_a_transformer_by_its_outputs_but_the_loss():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = BertForSequenceClassification(config).eval()
    batch = {
        "input_ids": torch.arange(12).view(2, 6),
        "attention_mask": torch.ones(2, 6, dtype=torch.long),
    }
    tensors = {
        name: tensor
        for name, tensor in model.named_parameters()
        if "intermediate.dense.weight" in name
    }
    plain = synflow(Scoring(model, tensors, [batch], None, 0.5, 0), rounds=2)
    labelled = {**batch, "labels": torch.tensor([0, 1])}
    with_loss = synflow(Scoring(model, tensors, [labelled], None, 0.5, 0), rounds=2)
    for name, score in plain.items():
        assert score.isfinite().all()
        assert score.any()
        assert torch.equal(score, with_loss[name])


def test_synflow_needs_a_batch_and_an_output():
    with pytest.raises(PruningError, match="needs one batch"):
        synflow(task(mlp(), batches=[]))

    class Silent(nn.Linear):
        def forward(self, x):
            return {"loss": super().forward(x).sum()}

    with pytest.raises(PruningError, match="no floating tensor"):
        synflow(flow_task(Silent(5, 5), [torch.ones(1, 5)]))
