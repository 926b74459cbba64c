from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from pruning_cases import (
    WEIGHTS,
    Examples,
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
from sparsead.errors import ConfigError, PruningError
from sparsead.pruning.grasp import grasp
from sparsead.pruning.prune import prune
from sparsead.pruning.scoring import undisturbed


def test_quadratic_has_its_closed_form() -> None:
    model, b = Quadratic(), torch.randn(5, 7, dtype=torch.float64)
    w = model.weights().detach()
    gradient = model.curvature @ w - b.mean(0)
    scores = grasp(scoring(model, b.split([1, 4]), mean_output))
    torch.testing.assert_close(flatten(scores), w * (model.curvature @ gradient))


@pytest.mark.parametrize("sizes", [[10], [3, 7], [2, 2, 6]])
def test_scores_are_those_of_the_explicit_hessian(sizes: list[int]) -> None:
    model = classifier(3, 4, activation=nn.GELU).double()
    examples = draw_examples(10, width=3, dtype=torch.float64)

    def loss_at(vector: Tensor) -> Tensor:
        first, second = vector.split([12, 12])
        weights = dict(zip(WEIGHTS, (first.view(4, 3), second.view(3, 4)), strict=True))
        return F.cross_entropy(functional_call(model, weights, (examples[0],)), examples[1])

    w = torch.cat([model.get_parameter(name).detach().flatten() for name in WEIGHTS])
    hessian: Tensor = torch.autograd.functional.hessian(loss_at, w)
    gradient: Tensor = torch.autograd.functional.jacobian(loss_at, w)
    scores = grasp(scoring(model, split(examples, sizes), cross_entropy))
    torch.testing.assert_close(flatten(scores), w * (hessian @ gradient))


@pytest.mark.parametrize("temperature", [0.5, 200.0])
def test_the_temperature_divides_the_logits(temperature: float) -> None:
    model = classifier(3, 4).double()
    examples = split(draw_examples(10, width=3, dtype=torch.float64), [4, 6])

    def divided(model: nn.Module, batch: Examples) -> Tensor:
        return F.cross_entropy(model(batch[0]) / temperature, batch[1])

    expected = flatten(grasp(scoring(model, examples, divided)))
    found = flatten(grasp(scoring(model, examples, cross_entropy), temperature=temperature))
    torch.testing.assert_close(found, expected)
    assert not torch.equal(
        found.argsort(), flatten(grasp(scoring(model, examples, cross_entropy))).argsort()
    )


def test_the_temperature_reaches_the_loss_of_a_transformer() -> None:
    model, batches = bert(), token_batches()

    def divided(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(model(**batch).logits / 3, batch["labels"])

    names = matrices_of_layer_0(model)
    expected = grasp(scoring(model, batches, divided, tensors=names))
    found = grasp(scoring(model, batches, transformers_loss, tensors=names), temperature=3)
    torch.testing.assert_close(found, expected)


def test_a_temperature_that_has_no_effect_is_refused() -> None:
    model, b = Quadratic(), torch.randn(5, 7, dtype=torch.float64)
    with pytest.raises(PruningError, match=r"pruner\.temperature=3: .* the loss has none"):
        grasp(scoring(model, [b], mean_output), temperature=3)
    with pytest.raises(ConfigError, match=r"pruner\.temperature=0: must be"):
        grasp(scoring(model, [b], mean_output), temperature=0)


def test_tensors_that_are_linear_or_unused_score_zero() -> None:
    model = nn.ParameterDict({"used": torch.ones(2), "unused": torch.ones(2)})
    linear = scoring(model, [torch.ones(1)], lambda m, _: m.get_parameter("used").sum())
    assert not flatten(grasp(linear)).any()


def matrices_of_layer_0(model: nn.Module) -> list[str]:
    # Below the last layer, so that the second derivative passes through attention.
    return [name for name, p in model.named_parameters() if "layer.0" in name and p.dim() == 2]


def test_bert_with_sdpa_scores_as_with_eager_attention() -> None:
    scores = {}
    for attention in ("sdpa", "eager"):
        model = bert(attention)
        assert model.config._attn_implementation == attention
        names = matrices_of_layer_0(model)
        task = scoring(model, token_batches(), transformers_loss, tensors=names)
        with undisturbed(model, task.tensors):
            scores[attention] = flatten(grasp(task))
    assert scores["sdpa"].abs().max() > 1e-3
    torch.testing.assert_close(scores["sdpa"], scores["eager"], rtol=1e-5, atol=1e-5)


def test_bert_is_pruned_as_wanted() -> None:
    model = bert()
    masks = prune(
        model,
        tensors=matrices_of_layer_0(model),
        sparsity=0.4,
        pruner="grasp",
        batches=token_batches(),
        loss=transformers_loss,
    )
    assert masks.removed == round(0.4 * masks.total)
    assert all(parameter.grad is None for parameter in model.parameters())


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "encoder": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    "attention": lambda: nn.MultiheadAttention(8, 2, batch_first=True),
    "lstm": lambda: nn.LSTM(8, 8, batch_first=True),
    "gru": lambda: nn.GRU(8, 8, batch_first=True),
}


def outputs(layer: nn.Module, batch: Tensor) -> Tensor:
    if isinstance(layer, nn.MultiheadAttention):
        return cast(Tensor, layer(batch, batch, batch, need_weights=False)[0])
    output = layer(batch)
    return cast(Tensor, output[0] if isinstance(output, tuple) else output)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_fused_kernels_have_second_derivatives(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]()
    matrices = [name for name, tensor in layer.named_parameters() if tensor.dim() == 2]
    batches = [torch.randn(2, 4, 8), torch.randn(2, 4, 8)]
    masks = prune(
        layer,
        tensors=matrices,
        sparsity=0.5,
        pruner="grasp",
        batches=batches,
        loss=lambda model, batch: outputs(model, batch).pow(2).mean(),
    )
    assert masks.removed == masks.total // 2


def test_an_operation_without_a_second_derivative_is_named() -> None:
    def attended(model: nn.Module, batch: Tensor) -> Tensor:
        heads = model(batch)[:, None]
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(heads, heads, heads).pow(2).mean()

    with pytest.raises(PruningError, match="operation without a second derivative") as refused:
        prune(
            nn.Linear(8, 8),
            tensors=["weight"],
            sparsity=0.5,
            pruner="grasp",
            batches=[torch.randn(2, 4, 8)],
            loss=attended,
        )
    assert "\n" not in str(refused.value)
