"""The loss that is trained where it is not the model's own: smoothed, weighted or accumulated."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from datasets import ClassLabel, Dataset, Value
from torch import Tensor

from sparsead.config.protocol import ProtocolSpec
from sparsead.errors import ConfigError
from sparsead.pruning.examples import IGNORED_LABEL

Criterion = Callable[[Tensor, Tensor], Tensor]
"""A function from logits and labels to the mean loss of a batch."""


def build_criterion(
    protocol: ProtocolSpec, rows: Dataset, classes: int, *, of_next_token: bool = False
) -> Criterion | None:
    """Return the loss of a protocol with label smoothing or class weights; None without them.

    With smoothing s, s of each label is spread evenly over all classes or tokens (Szegedy et al.,
    2016). With balanced class weights, the loss of an example of class c is multiplied by
    n / (k n_c), as in scikit-learn: n_c of n training examples are of class c, of k classes. With
    both, torch weights each term of the smoothed label by its own class, and not the example.

    Args:
        protocol: the run's protocol.
        rows: the encoded training split.
        classes: number of the model's classes.
        of_next_token: whether a token's logits are those of the next one.

    Raises:
        ConfigError: the labels are not of a kind for which the option is defined.
    """
    smoothing, weighting = protocol.label_smoothing, protocol.class_weights
    if not smoothing and weighting is None:
        return None
    kind = _kind_of_labels(rows)
    if kind == "other" or (weighting is not None and kind != "classes"):
        chosen = f"class_weights={weighting}" if weighting else f"label_smoothing={smoothing:g}"
        raise ConfigError(f"protocol.{chosen}: the labels of this task are not classes")
    weights = None if weighting is None else balanced_weights(rows["labels"][:], classes)

    def criterion(logits: Tensor, labels: Tensor) -> Tensor:
        if of_next_token:
            logits, labels = align_next_tokens(logits, labels)
        flat = logits.float().flatten(0, -2)
        of_classes = None if weights is None else weights.to(flat.device)
        total = F.cross_entropy(
            flat,
            labels.flatten(),
            of_classes,
            ignore_index=IGNORED_LABEL,
            reduction="sum",
            label_smoothing=smoothing,
        )
        return total / (labels != IGNORED_LABEL).sum()

    return criterion


def align_next_tokens(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of each token that the loss counts, and the token, in the same order.

    Args:
        logits: of the next token after each, (sequences, length, tokens); or those alone that the
            loss counts, (1, number, tokens), see `sparsead.training.labelled`.
        labels: (sequences, length).

    Returns:
        Of shape (number, tokens) and (number,).
    """
    counted = labels[:, 1:] != IGNORED_LABEL
    chosen = logits[:, :-1][counted] if logits.shape[:2] == labels.shape else logits[0]
    return chosen, labels[:, 1:][counted]


def balanced_weights(labels: list[int], classes: int) -> Tensor:
    """Return n / (k n_c) for each class c, of shape (classes,); 0 for a class without examples."""
    counts = torch.bincount(torch.tensor(labels), minlength=classes)
    present = int((counts > 0).sum())
    return torch.where(counts > 0, len(labels) / (present * counts.clamp(min=1)), 0.0)


def _kind_of_labels(rows: Dataset) -> str:
    """Return "classes" for a whole number each, "tokens" for a list of them, else "other"."""
    feature = rows.features.get("labels")
    if isinstance(feature, ClassLabel) or (
        isinstance(feature, Value) and feature.dtype.startswith("int")
    ):
        return "classes"
    inner = getattr(feature, "feature", None)
    is_tokens = isinstance(inner, Value) and inner.dtype.startswith("int")
    return "tokens" if is_tokens else "other"
