"""The saliences of SPEFT that are made of first derivatives: gradient, taylor and fisher."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from transformers import BatchEncoding

from pruning_cases import (
    WEIGHTS,
    Quadratic,
    bert,
    classifier,
    cross_entropy,
    draw_examples,
    flatten,
    mean_output,
    scoring,
    split,
    token_batches,
    transformers_loss,
)
from sparsead.errors import PruningError
from sparsead.pruning.fisher import fisher
from sparsead.pruning.gradient import gradient
from sparsead.pruning.prune import prune
from sparsead.pruning.taylor import taylor
from sparsead.training.unpadded import unpad


def quadratic() -> tuple[Quadratic, Tensor, Tensor]:
    """Return L = 0.5 wᵀAw - bᵀw, five b, and the gradient Aw - b of each example."""
    model, b = Quadratic(), torch.randn(5, 7, dtype=torch.float64)
    return model, b, model.curvature @ model.weights().detach() - b


def test_scores_of_a_quadratic_have_their_closed_form() -> None:
    model, b, gradients = quadratic()
    scored = scoring(model, b.split([2, 3]), mean_output)
    weights, mean = model.weights().detach(), gradients.mean(0)
    torch.testing.assert_close(flatten(gradient(scored)), mean.abs())
    torch.testing.assert_close(flatten(taylor(scored)), (weights * mean).square())
    torch.testing.assert_close(flatten(fisher(scored)), gradients.square().mean(0))


def test_fisher_is_that_of_every_example_by_itself() -> None:
    model = classifier().double().eval()
    inputs, classes = draw_examples(11, dtype=torch.float64)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights: dict[str, Tensor], x: Tensor, label: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(model, weights, (x[None],)), label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, inputs, classes)
    scores = fisher(scoring(model, split((inputs, classes), [4, 7]), cross_entropy))
    for name in WEIGHTS:
        torch.testing.assert_close(scores[name], each[name].square().mean(0))


def test_fisher_of_packed_batches_is_that_of_padded_ones() -> None:
    names = ["bert.encoder.layer.0.output.dense.weight"]
    padded = fisher(scoring(bert(), token_batches(), transformers_loss, tensors=names))
    model, source = bert().eval(), iter(token_batches())
    collator = unpad(model, lambda _: BatchEncoding(next(source)), "fp32")
    batches = [collator([]) for _ in range(2)]
    assert all("packing" in batch for batch in batches)
    packed = fisher(scoring(model, batches, transformers_loss, tensors=names))
    torch.testing.assert_close(packed[names[0]], padded[names[0]])


def test_taylor_chooses_the_weights_of_snip_even_where_squares_are_tiny() -> None:
    masks = []
    for pruner in ("snip", "taylor"):
        model = classifier()
        with torch.no_grad():
            model.get_parameter("0.weight").mul_(1e-20)
        data = split(draw_examples(12), [12])
        masks.append(
            prune(
                model,
                tensors=WEIGHTS,
                sparsity=0.5,
                pruner=pruner,
                batches=data,
                loss=cross_entropy,
                minimum_kept=0,
                scope="tensor",
            )
        )
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in WEIGHTS)


def test_a_batch_without_examples_is_refused_in_one_line() -> None:
    model = classifier()
    with pytest.raises(PruningError, match="batches: a object cannot be taken apart") as refused:
        fisher(scoring(model, [object()], lambda m, _: m(torch.ones(1, 4)).sum()))
    assert "\n" not in str(refused.value)
