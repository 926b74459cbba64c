"""SNIP: single-shot network pruning by connection sensitivity (Lee et al., 2018)."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from sparsead.config.values.pruners import check_snip
from sparsead.pruning.contract import PRUNERS, Scores, Scoring
from sparsead.seeding import derive_seed

logger = logging.getLogger(__name__)

_ROUNDING = 1e-5


@PRUNERS.register("snip")
def snip(
    scoring: Scoring, *, mode: str = "eval", draws: int = 1, faithful: str | None = None
) -> Scores:
    """Score each weight z = |w ⊙ ∂L/∂w|, the sensitivity of the loss to its connection.

    The gradient is averaged over the scoring set with its sign, then the absolute value is
    taken (Lee et al., 2018, equation 5, without the normalisation, which changes no order).

    Args:
        scoring: what is scored.
        mode: "eval" computes gradients without dropout; "train" computes them with dropout and
            averages them over `draws` passes, seeded by the scoring's seed. It says so if the
            model has no dropout, so that both modes are equal. Running statistics of batch norms do
            not change in either mode.
        draws: number of passes over the scoring set in train mode.
        faithful: "paper" scores z = w ⊙ ∂L/∂w, with its sign: the sentence of the SparseAdapter
            paper, z = -w ⊙ g and remove the highest, read literally. Their published code computes
            the equation above.

    Returns:
        One tensor of scores per prunable tensor, of its shape.

    Raises:
        ConfigError: `mode` or `faithful` is unknown, or `draws` does not fit the mode.
        PruningError: there are no batches.
    """
    check_snip({"mode": mode, "draws": draws, "faithful": faithful})
    gradients = scoring.mean_gradients() if mode == "eval" else _dropout_gradients(scoring, draws)
    scores: Scores = {}
    for name, tensor in scoring.tensors.items():
        signed = tensor.detach() * gradients.pop(name)
        scores[name] = signed if faithful == "paper" else signed.abs()
    return scores


def _dropout_gradients(scoring: Scoring, draws: int) -> Scores:
    """Return gradients averaged over `draws` passes in train mode; the model ends in eval mode."""
    without = scoring.mean_gradients()
    totals = {name: torch.zeros_like(gradient) for name, gradient in without.items()}
    try:
        _train_but_batch_norms(scoring.model)
        for draw in range(draws):
            _seed(derive_seed(scoring.seed, "snip", draw), next(iter(totals.values())).device)
            for name, gradient in scoring.mean_gradients().items():
                totals[name].add_(gradient, alpha=1 / draws)
    finally:
        scoring.model.eval()
    if all(_is_close(totals[name], without[name]) for name in totals):
        logger.warning(
            "pruner.mode=train: the model has no dropout, so that it scores as pruner.mode=eval"
        )
    return totals


def _is_close(one: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors differ by no more than rounding."""
    return bool((one - other).norm() <= _ROUNDING * other.norm())


def _train_but_batch_norms(model: nn.Module) -> None:
    """Set train mode, except in modules that would update running statistics."""
    for module in model.modules():
        module.training = getattr(module, "running_mean", None) is None


def _seed(seed: int, device: torch.device) -> None:
    """Seed the CPU and `device` alone: `undisturbed` restores no other device's random state."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
