"""Classifiers on the backbones of conf/: small random ones, and large ones without weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from composing import compose
from sparsead.backbones.loading import build_skeleton, load_backbone
from sparsead.training.inference import autocast


def tiny_classifier(backbone: str = "tiny-bert") -> PreTrainedModel:
    """Return the backbone with a new head for two classes, in eval mode."""
    loaded = load_backbone(compose(f"backbone={backbone}").backbone)
    model = loaded.model(AutoModelForSequenceClassification, {"num_labels": 2}, seed=1)
    model.eval()
    return model


def weightless_classifier(backbone: str, **options: int) -> PreTrainedModel:
    """Return the backbone on the meta device; `options` change its transformers configuration."""
    spec = compose(f"backbone={backbone}").backbone
    return build_skeleton(spec, AutoModelForSequenceClassification, options)


def labelled_batch() -> dict[str, Tensor]:
    """Return two labelled sequences for `tiny_classifier`, the second one padded."""
    tokens = torch.tensor([[0, 7, 8, 9, 2], [0, 11, 12, 2, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    return {"input_ids": tokens, "attention_mask": mask, "labels": torch.tensor([1, 0])}


def take_steps(model: PreTrainedModel, steps: int = 2) -> None:
    """Train a classifier on `labelled_batch`, and leave it in eval mode."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1, fused=True)  # the Trainer's
    for _ in range(steps):
        optimizer.zero_grad()
        model(**labelled_batch()).loss.backward()
        optimizer.step()
    model.eval()


def check_gradients_at_places(
    chosen: PreTrainedModel,
    whole: PreTrainedModel,
    masks: Mapping[str, Tensor],
    precision: str = "fp32",
) -> None:
    """Compare the gradients of chosen weights with those of the whole parameters at their places.

    Args:
        chosen: a model of which only the weights that the masks keep train.
        whole: the same model, all of whose weights train.
        masks: by the parameters' names, True where a weight is chosen.
        precision: "fp32" or "bf16", in which both compute.
    """
    for model in (chosen, whole):
        with autocast(model, precision):
            loss = model(**labelled_batch()).loss
        loss.backward()
    for name, mask in masks.items():
        expected = whole.get_parameter(name).grad
        assert expected is not None
        if mask.any():
            values = chosen.get_parameter(f"{name.rpartition('.')[0]}.adapter.values")
            torch.testing.assert_close(values.grad, expected[mask], rtol=1e-4, atol=1e-7)
        assert chosen.get_parameter(name).grad is None
