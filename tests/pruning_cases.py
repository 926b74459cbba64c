"""Small models, batches and losses that the pruners' tests share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification

from sparsead.pruning.contract import Loss, Scores, Scoring

Examples = tuple[Tensor, Tensor]
"""Inputs, (examples, width), and the class of each."""

WEIGHTS = ("0.weight", "3.weight")
"""The two matrices of `classifier`."""


class Quadratic(nn.Module):
    """L = 0.5 wᵀAw - bᵀw over a vector and a matrix; a batch holds one b a row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Parameter(torch.randn(3, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(2, 2, dtype=torch.float64))
        root = torch.randn(7, 7, dtype=torch.float64)
        self.curvature = root + root.T

    def weights(self) -> Tensor:
        return torch.cat([self.first, self.second.flatten()])

    def forward(self, b: Tensor) -> Tensor:
        w = self.weights()
        return (0.5 * w @ self.curvature @ w - b @ w).mean()


def classifier(
    width: int = 4,
    hidden: int = 5,
    classes: int = 3,
    *,
    activation: type[nn.Module] = nn.Tanh,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Return a network of two layers; every call returns the same weights."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(width, hidden), activation(), nn.Dropout(dropout), nn.Linear(hidden, classes)
    )


def bottlenecks(
    rows: str = "down",
    columns: str = "up",
    widths: Sequence[int] = (12, 20),
    bottleneck: int = 8,
) -> nn.ModuleList:
    """Return pairs of matrices that share the units of a bottleneck, one pair for each width."""
    torch.manual_seed(0)
    return nn.ModuleList(
        nn.ModuleDict(
            {
                rows: nn.Linear(width, bottleneck, bias=False),
                columns: nn.Linear(bottleneck, width, bias=False),
            }
        )
        for width in widths
    )


def bert(attention: str = "sdpa") -> BertForSequenceClassification:
    """Return BERT with two layers; its weights are large enough that attention matters."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.2,
    )
    model = BertForSequenceClassification(config)
    model.set_attn_implementation(attention)
    return model


def token_batches() -> list[dict[str, Tensor]]:
    """Return 2 and 4 labelled sequences for `bert`, every other one padded."""
    draws = torch.Generator().manual_seed(0)
    mask = torch.ones(6, 9, dtype=torch.long)
    mask[::2, 6:] = 0
    batch = {
        "input_ids": torch.randint(40, (6, 9), generator=draws),
        "attention_mask": mask,
        "labels": torch.tensor([0, 1, 0, 1, 1, 0]),
    }
    return [{key: value[part] for key, value in batch.items()} for part in (slice(2), slice(2, 6))]


def draw_examples(
    count: int,
    width: int = 4,
    classes: int = 3,
    *,
    seed: int = 2,
    dtype: torch.dtype = torch.float32,
) -> Examples:
    draws = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, width, generator=draws, dtype=dtype)
    return inputs, torch.randint(classes, (count,), generator=draws)


def split(examples: Examples, sizes: list[int]) -> list[Examples]:
    inputs, classes = examples
    return list(zip(inputs.split(sizes), classes.split(sizes), strict=True))


def cross_entropy(model: nn.Module, batch: Examples) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def mean_output(model: nn.Module, batch: Tensor) -> Tensor:
    """Take the outputs' mean as the loss; `Quadratic` returns its loss itself."""
    outputs: Tensor = model(batch)
    return outputs.mean()


def transformers_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    loss: Tensor = model(**batch).loss
    return loss


def refuse_loss(model: nn.Module, batch: object) -> Tensor:
    raise AssertionError("a pruner that needs no loss has asked for it")


def scoring(
    model: nn.Module,
    batches: Sequence[object] = (),
    loss: Loss = refuse_loss,
    *,
    tensors: Iterable[str] | None = None,
    sparsity: float = 0.5,
    seed: int = 0,
) -> Scoring:
    """Return a pruner's argument; all parameters but biases are prunable, unless names are given.

    The model is put into eval mode, as `sparsead.prune` does.
    """
    if tensors is None:
        tensors = [name for name in parameter_names(model) if not name.endswith("bias")]
    scored = {name: model.get_parameter(name) for name in tensors}
    return Scoring(model.eval(), scored, batches, loss, sparsity, seed)


def flatten(scores: Scores) -> Tensor:
    """Return all scores as one vector, in the tensors' order."""
    return torch.cat([score.flatten() for score in scores.values()])


def parameter_names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def copy_parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
