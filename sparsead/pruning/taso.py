"""TASO: the pretrained weights that matter to the task choose LoRA's structure.

Miao et al., 2025 (arXiv:2509.17688). What is stated there, and kept here: the importance of a
pretrained weight is |W ⊙ ∂L/∂W| on the task's data; important weights lie together in some rows and
columns of a matrix, its core region; row i of W belongs to row i of LoRA's B, and column j of W to
column j of A; what is outside the core region is removed before training.

What had to be assumed, because the paper's text could not be consulted in full:

- The importance of a row or a column is the mean of its weights' importances. A sum would favour
  long rows over short columns.
- Rows and columns compete with each other: all of them in all layers with pruner.scope=global,
  those of one matrix of LoRA with pruner.scope=tensor. The budget is the run's sparsity.
- Every unit of the rank has the same structure. Their experiments have a rank of 1.
- The importance is that of the model without LoRA, whatever LoRA's initialisation adds to it.
- Their larger learning rate for sparser matrices is not applied: a pruner only chooses weights, and
  methods are compared at one rate here. Set `protocol.learning_rate` for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from sparsead.errors import PruningError
from sparsead.pruning.contract import PRUNERS, Scores, Scoring
from sparsead.pruning.scoring import keep_only

_LORA = re.compile(r"(?P<layer>.+?)\.(?:adapter\.)?lora_(?P<side>[AB])(?:\.\w+)?\.weight")
"""Names of LoRA's matrices: LAYER.adapter.lora_A.weight here, LAYER.lora_A.NAME.weight in peft."""
_LENGTHS = ("adapter.magnitude", "lora_magnitude_vector")
"""What the names of DoRA's lengths of the rows of W begin with after LAYER: here, and in peft."""


class _Side(NamedTuple):
    base: str
    rows: bool


@PRUNERS.register("taso")
def taso(scoring: Scoring) -> Scores:
    """Score column j of A by mean_i |W ⊙ ∂L/∂W|_ij, and row i of B by mean_j |W ⊙ ∂L/∂W|_ij.

    W, (n_out, n_in), is the frozen weight of the layer that A, (r, n_in), and B, (n_out, r), adapt.
    Its importance is computed without LoRA. The equation is that of Miao et al., 2025
    (arXiv:2509.17688); the head of this file says what had to be assumed.

    Returns:
        One tensor of scores per prunable tensor, of its shape: all weights of a column of A, or of
        a row of B, have the same score.

    Raises:
        PruningError: a tensor is none of LoRA's matrices, or one of DoRA's, or there are no
            batches.
    """
    sides = {name: _side(scoring.model, name) for name in scoring.tensors}
    weights = {side.base: scoring.model.get_parameter(side.base) for side in sides.values()}
    nothing = {n: torch.zeros_like(t, dtype=torch.bool) for n, t in scoring.tensors.items()}
    with keep_only(scoring.tensors, nothing), _differentiable(weights):
        gradients = replace(scoring, tensors=weights).mean_gradients()
    scores: Scores = {}
    for name, (base, rows) in sides.items():
        importance = (weights[base].detach() * gradients[base]).abs().mean(1 if rows else 0)
        means = importance[:, None] if rows else importance[None, :]
        scores[name] = means.expand(scoring.tensors[name].shape)
    return scores


def _side(model: nn.Module, name: str) -> _Side:
    """Return the name of the weight that a matrix of LoRA adapts, and whether it has its rows."""
    match = _LORA.fullmatch(name)
    if match is None:
        raise PruningError(f"pruner=taso: {name} is no matrix of LoRA; choose adapter=lora")
    lengths = tuple(f"{match['layer']}.{part}" for part in _LENGTHS)
    if any(parameter.startswith(lengths) for parameter, _ in model.named_parameters()):
        raise PruningError(
            f"pruner=taso: {name} is of DoRA, which rescales the rows of the pretrained weight "
            "even without LoRA; choose adapter=lora"
        )
    modules = dict(model.named_modules())
    for layer in (match["layer"], f"{match['layer']}.base_layer"):
        if isinstance(modules.get(layer), nn.Linear):
            return _Side(f"{layer}.weight", match["side"] == "B")
    raise PruningError(f"pruner=taso: {name} adapts no linear layer; {match['layer']} is none")


@contextmanager
def _differentiable(weights: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Compute gradients of frozen weights too; at the end they are frozen as before."""
    required = {weight: weight.requires_grad for weight in weights.values()}
    try:
        for weight in weights.values():
            weight.requires_grad_(True)
        yield
    finally:
        for weight, flag in required.items():
            weight.requires_grad_(flag)
