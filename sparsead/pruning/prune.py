"""Pruning at initialisation of any torch module: score, mask, enforce."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, SupportsFloat

import torch
from torch import Tensor, nn

from sparsead.config.pruning import CONTROLS, MINIMUM_KEPT, SCOPES
from sparsead.errors import ConfigError, PruningError, unknown
from sparsead.errors.own_code import named_as_own
from sparsead.pruning.budget import (
    NotByScore,
    count_weights_to_remove,
    find_not_by_score,
    masks_from_scores,
)
from sparsead.pruning.contract import PRUNERS, Batches, Loss, Pruner, Scores, Scoring
from sparsead.pruning.controls import (
    Redraw,
    check_control,
    invert_scores,
    replace_weights,
    shuffle_masks,
)
from sparsead.pruning.masks import Masks
from sparsead.pruning.parameters import find_parameters
from sparsead.pruning.scoring import (
    check_scores,
    probe_zero_tensors,
    refused_changes,
    rescaled,
    undisturbed,
)
from sparsead.pruning.selection import highest

logger = logging.getLogger(__name__)


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
    control: str = "none",
    redraw: Redraw | None = None,
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
        seed: seed of random scores, of the order of ties, of the probe and of shuffled masks.
        control: "shuffle" permutes each tensor's mask, "invert" removes the weights with the
            highest scores, "reinit" keeps the mask and replaces the weights; "none" does nothing.
        redraw: returns new weights by name, for control="reinit".
        **options: the pruner's own options, if the pruner is given by name.

    Returns:
        The masks by name: boolean, True where the weight is kept.

    Raises:
        PruningError: the model has no such parameter, or one that cannot be pruned (frozen, empty,
            without values, pruned before, or the same weights under two names), an argument has
            the wrong type, the pruner needs batches or a loss, its scores are not finite or are
            all 0, the budget cannot be met, or `redraw` is missing.
        ConfigError: the pruner, one of its options, the scope or the control is unknown, or the
            pruner does not support the control.
    """
    _check(sparsity, scope, control, minimum_kept, seed)
    sparsity, minimum_kept = float(sparsity), float(minimum_kept)
    if sparsity == 0 and control != "none":
        raise PruningError(f"control={control}: at sparsity=0 there is nothing to control")
    if redraw is not None and not callable(redraw):
        raise PruningError(f"redraw={redraw!r}: must be a function that returns new weights")
    if isinstance(pruner, str):
        check_control(pruner, control)
    pruner = _scorer(pruner, options)
    parameters = find_parameters(model, tensors)
    if sparsity and not parameters:
        raise PruningError(f"sparsity.ratio={sparsity:g}: there is nothing to prune")
    if sparsity == 0:
        return Masks({name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()})
    count_weights_to_remove((p.numel() for p in parameters.values()), sparsity, minimum_kept)
    scored_on = _batches(batches)
    scoring = Scoring(
        model, parameters, scored_on, _checked(loss), sparsity, seed, scope, minimum_kept
    )
    scores = _score(scoring, pruner, probe=probe, control=control)
    kept, not_by_score = _masks(scoring, scores)
    _tell(not_by_score, len(kept))
    if control == "shuffle":
        kept = shuffle_masks(kept, seed)
    if control == "reinit":
        replace_weights(parameters, redraw)
    masks = Masks(kept, data_read=scored_on.read, not_by_score=not_by_score)
    masks.enforce(model)
    return masks


def choose_weights(
    model: nn.Module,
    *,
    tensors: Iterable[str],
    sparsity: float,
    pruner: Pruner,
    batches: Iterable[Any],
    loss: Loss,
    scope: str,
    probe: bool,
    minimum_kept: float,
    seed: int,
    control: str,
) -> Masks:
    """Return masks as `prune` does, but leave the model as it is: nothing is removed.

    Over all tensors together, the highest scores are found without a copy of all of them.

    Raises:
        PruningError: as for `prune`.
    """
    _check(sparsity, scope, control, minimum_kept, seed)
    parameters = find_parameters(model, tensors)
    scored_on = _batches(batches)
    scoring = Scoring(
        model, parameters, scored_on, _checked(loss), sparsity, seed, scope, minimum_kept
    )
    scores = _score(scoring, pruner, probe=probe, control=control)
    if scope == "global":
        total = sum(parameter.numel() for parameter in parameters.values())
        kept, ties = highest(scores, total - round(sparsity * total), seed)
        not_by_score = NotByScore(ties=ties)
    else:
        kept, not_by_score = _masks(scoring, scores)
    _tell(not_by_score, len(kept))
    if control == "shuffle":
        kept = shuffle_masks(kept, seed)
    return Masks(kept, data_read=scored_on.read, not_by_score=not_by_score)


def _masks(scoring: Scoring, scores: Scores) -> tuple[dict[str, Tensor], NotByScore]:
    """Return the masks of these scores, and which weights the scores did not decide on."""
    how: dict[str, Any] = {
        "scope": scoring.scope,
        "minimum_kept": scoring.minimum_kept,
        "seed": scoring.seed,
    }
    kept = masks_from_scores(scores, scoring.sparsity, **how)
    return kept, find_not_by_score(scores, kept, scoring.sparsity, **how)


def _score(scoring: Scoring, pruner: Pruner, *, probe: bool, control: str) -> Scores:
    """Return the pruner's scores, checked; the model does not change."""
    parameters = dict(scoring.tensors)
    with (
        undisturbed(scoring.model, parameters),
        rescaled(scoring.model),
        probe_zero_tensors(parameters, scoring.seed) if probe else nullcontext(),
        nullcontext() if _is_ours(pruner) else refused_changes(scoring.model),
        nullcontext() if _is_ours(pruner) else named_as_own(_describe(pruner)),
    ):
        scores = pruner(scoring)
        check_scores(scores, parameters)
    return invert_scores(scores) if control == "invert" else scores


def _is_ours(pruner: Pruner) -> bool:
    """Tell whether a pruner is the project's, whose tests show that it changes nothing."""
    return str(getattr(_function(pruner), "__module__", "")).startswith("sparsead.")


def _describe(pruner: Pruner) -> str:
    """Return how a message names a pruner that is not the project's."""
    function = _function(pruner)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"pruner: {function.__module__}.{name}"


def _function(pruner: Pruner) -> Callable[..., object]:
    return pruner.func if isinstance(pruner, partial) else pruner


def _tell(found: NotByScore, tensors: int) -> None:
    """Print how much of a mask the scores did not decide; nothing if they decided all of it."""
    if found.at_minimum:
        logger.info(
            "pruning: %d of %d tensors keep no more than pruner.minimum_kept, which saved %d "
            "weights from removal",
            len(found.at_minimum),
            tensors,
            found.minimum,
        )
    if found.ties:
        logger.info(
            "pruning: %d kept weights score no higher than removed ones: they were drawn among "
            "equal scores",
            found.ties,
        )


def _check(sparsity: float, scope: str, control: str, minimum_kept: float, seed: int) -> None:
    shares: dict[str, Any] = {"sparsity": sparsity, "minimum_kept": minimum_kept}
    for key, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, SupportsFloat):
            raise PruningError(f"{key}={value!r}: must be a number")
        if not 0 <= float(value) < 1:
            raise PruningError(f"{key}={float(value):g}: must be at least 0 and below 1")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise PruningError(f"seed={seed!r}: must be a whole number")
    if scope not in SCOPES:
        raise ConfigError(unknown("scope", scope, SCOPES))
    if control not in CONTROLS:
        raise ConfigError(unknown("control", control, CONTROLS))


def _scorer(pruner: str | Callable[..., Scores], options: Mapping[str, Any]) -> Pruner:
    """Return the pruner with its options, whether it was given by name or as a function."""
    if isinstance(pruner, str):
        return PRUNERS.bind(pruner, options)
    if not callable(pruner):
        raise PruningError(f"pruner={pruner!r}: must be a name or a function")
    if options:
        raise ConfigError(f"{next(iter(options))}: only a pruner given by name takes options")
    return pruner


def _batches(batches: Iterable[Any] | None) -> Batches:
    if batches is not None and (isinstance(batches, str) or not isinstance(batches, Iterable)):
        raise PruningError(f"batches={batches!r}: must be batches, as in a list or a DataLoader")
    return Batches(() if batches is None else batches)


def _checked(loss: Loss | None) -> Loss:
    """Return the loss; what it returns is checked for every batch."""
    if loss is not None and not callable(loss):
        raise PruningError(f"loss={loss!r}: must be a function of a model and a batch")

    def checked(model: nn.Module, batch: Any) -> Tensor:
        try:
            value = (loss or _no_loss)(model, batch)
        except RuntimeError as error:
            if "Inference tensors" not in str(error):
                raise
            raise PruningError("batches: were created in inference mode; clone them") from error
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
            shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
            raise PruningError(
                f"loss: must return the mean loss of a batch, a tensor with one number, not "
                f"{type(value).__name__}{shape}"
            )
        if not value.requires_grad:
            raise PruningError(
                "loss: depends on none of the tensors to prune, or was computed without gradients"
            )
        return value

    return checked


def _no_loss(_model: nn.Module, _batch: Any) -> Tensor:
    raise PruningError("this pruner needs a loss and batches")
