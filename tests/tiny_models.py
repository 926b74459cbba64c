"""Classifiers on the backbones of conf/: small random ones, and large ones without weights."""

from __future__ import annotations

from transformers import AutoModelForSequenceClassification, PreTrainedModel

from composing import compose
from sparsead.backbones.loading import load_backbone, skeleton


def tiny_classifier(backbone: str = "tiny-bert") -> PreTrainedModel:
    """Return the backbone with a new head for two classes, in eval mode."""
    loaded = load_backbone(compose(f"backbone={backbone}").backbone)
    model = loaded.model(AutoModelForSequenceClassification, {"num_labels": 2}, seed=1)
    model.eval()
    return model


def weightless_classifier(backbone: str, **options: int) -> PreTrainedModel:
    """Return the backbone on the meta device; `options` change its transformers configuration."""
    spec = compose(f"backbone={backbone}").backbone
    return skeleton(spec, AutoModelForSequenceClassification, options)
