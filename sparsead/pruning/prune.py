"""Pruning at initialisation of any torch module: score, mask, enforce."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from sparsead.config.groups import SCOPES
from sparsead.errors import ConfigError, PruningError, unknown
from sparsead.pruning.budget import MINIMUM_KEPT, masks_from_scores
from sparsead.pruning.contract import PRUNERS, Batches, Loss, Scores, Scoring
from sparsead.pruning.masks import Masks
from sparsead.pruning.scoring import check_scores, probe_zero_tensors, rescaled, undisturbed


def prune(
    model: nn.Module,
    *,
    tensors: Iterable[str],
    sparsity: float,
    pruner: str | Callable[[Scoring], Scores] = "snip",
    batches: Iterable[Any] | None = None,
    loss: Loss | None = None,
    scope: str = "global",
    probe: bool = False,
    minimum_kept: float = MINIMUM_KEPT,
    seed: int = 0,
    **options: Any,
) -> Masks:
    """Remove a share of the weights of the named tensors of `model`, also for later training.

    Args:
        model: any module; its modes, its gradients and the random states do not change.
        tensors: names of its prunable parameters.
        sparsity: share of their weights to remove: exactly round(sparsity · N) of N.
        pruner: a registered name, a dotted path, or the function from Scoring to Scores itself.
        batches: the scoring set, on the model's device; data-free pruners do not read it.
        loss: maps (model, batch) to a scalar mean loss.
        scope: "global" or "tensor": whether weights are compared over all tensors or within each.
        probe: score tensors that are all zero at values drawn from N(0, 0.02²) instead.
        minimum_kept: share of each tensor that is kept whatever its scores.
        seed: seed of random scores, of the order of ties and of the probe.
        **options: the pruner's own options, if the pruner is given by name.

    Returns:
        The masks by name: boolean, True where the weight is kept.

    Raises:
        PruningError: the model has no such parameter, the pruner needs batches or a loss, its
            scores are not finite or are all 0, or the budget cannot be met.
        ConfigError: the pruner or one of its options is unknown.
    """
    parameters = _parameters(model, tensors)
    _check(sparsity, scope, parameters)
    if sparsity == 0:
        return Masks({name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()})
    score = PRUNERS.bind(pruner, options) if isinstance(pruner, str) else pruner
    scored_on = Batches(() if batches is None else batches)
    scoring = Scoring(model, parameters, scored_on, loss or _no_loss, sparsity, seed)
    with (
        undisturbed(model, parameters),
        rescaled(model),
        probe_zero_tensors(parameters, seed) if probe else nullcontext(),
    ):
        scores: Scores = score(scoring)
        check_scores(scores, parameters)
    kept = masks_from_scores(scores, sparsity, scope=scope, minimum_kept=minimum_kept, seed=seed)
    masks = Masks(kept, data_read=scored_on.read)
    masks.enforce(model)
    return masks


def _parameters(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Parameter]:
    if isinstance(names, str):
        raise PruningError(f"tensors={names}: must be names, as in tensors=[{names!r}]")
    every = dict(model.named_parameters(remove_duplicate=False))
    wanted = list(names)
    for name in wanted:
        if name not in every:
            near = get_close_matches(name, every, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise PruningError(f"tensors={name}: the model has no such parameter{hint}")
    return {name: every[name] for name in wanted}


def _check(sparsity: float, scope: str, parameters: Mapping[str, nn.Parameter]) -> None:
    if not 0 <= sparsity < 1:
        raise PruningError(f"sparsity={sparsity:g}: must be at least 0 and below 1")
    if scope not in SCOPES:
        raise ConfigError(unknown("scope", scope, SCOPES))
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    if frozen:
        raise PruningError(f"{frozen[0]}: is frozen; only what trains can be pruned")
    if sparsity and not parameters:
        raise PruningError(f"sparsity.ratio={sparsity:g}: there is nothing to prune")


def _no_loss(_model: nn.Module, _batch: Any) -> Tensor:
    raise PruningError("this pruner needs a loss and batches")
