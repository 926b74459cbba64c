"""SynFlow: iterative conservation of synaptic flow (Tanaka et al., 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sparsead.errors import PruningError
from sparsead.pruning.contract import PRUNERS, Scores, Scoring
from sparsead.pruning.force import Masked, score_in_rounds


@PRUNERS.register("synflow")
def synflow(scoring: Scoring, *, rounds: int = 10) -> Scores:
    """Score each weight z = |θ| ⊙ ∂R/∂|θ|, R the sum of the outputs at |θ| of all parameters.

    Tanaka et al., 2020 (arXiv:2006.05467). No loss is used. The model is given the first batch,
    with floating-point inputs set to 1 as in the paper. Token ids and attention masks are kept,
    because ones would not be a valid text, so for text the scores depend on data. The flow is
    conserved between layers only where the network is positively homogeneous: LayerNorm, softmax
    and GELU break that, and for transformers the scores are a heuristic. The sum over the output
    of a LayerNorm with equal gains is constant, so it contributes nothing.

    A copy of the parameters in float64 is scored, since products of many layers of absolute
    values overflow float32; the model itself is never changed.

    Args:
        scoring: what is scored; its batches are mappings (passed by keyword), sequences that
            begin with the input, or the input itself.
        rounds: number of rounds of scoring and masking. The paper uses 100 to remove 99 % or more;
            with 10 rounds and a sparsity up to 0.8, each removes at most 15 % of the weights left.

    Returns:
        One tensor of scores per prunable tensor, of its shape, in float64: those of the last
        round, 0 for weights that earlier rounds removed.

    Raises:
        ConfigError: fewer than one round.
        PruningError: there are no batches, or the model returns no floating tensor.
    """
    if not scoring.batches:
        raise PruningError("synflow needs one batch, for the shapes of the model's inputs")
    inputs = _ones(scoring.batches[0])
    state = {
        name: tensor.detach().abs().double() if tensor.is_floating_point() else tensor
        for name, tensor in _state(scoring)
    }

    def flow(masks: Masked) -> Scores:
        weights = {name: (state[name] * masks[name]).requires_grad_() for name in scoring.tensors}
        total = _flow(scoring.model, {**state, **weights}, inputs)
        gradients = torch.autograd.grad(total, list(weights.values()), materialize_grads=True)
        return {
            name: (weight.detach() * gradient).abs()
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }

    return score_in_rounds(scoring, rounds, flow)


def _state(scoring: Scoring) -> list[tuple[str, Tensor]]:
    """Return parameters and buffers, each with one name: a tied one with that which is scored."""
    model, scored = scoring.model, {id(tensor) for tensor in scoring.tensors.values()}
    others = [pair for pair in model.named_parameters() if id(pair[1]) not in scored]
    return [*scoring.tensors.items(), *others, *model.named_buffers()]


def _ones(batch: Any) -> Any:
    """Return the batch with floating tensors set to 1, in float64."""
    if isinstance(batch, Mapping):
        return {key: _ones(value) for key, value in batch.items()}
    if isinstance(batch, Sequence) and not isinstance(batch, str):
        return [_ones(value) for value in batch]
    if isinstance(batch, Tensor) and batch.is_floating_point():
        return torch.ones_like(batch, dtype=torch.float64)
    return batch


def _flow(model: nn.Module, state: Mapping[str, Tensor], inputs: Any) -> Tensor:
    """Return R, the sum of all floating outputs except the loss."""
    arguments = () if isinstance(inputs, Mapping) else (inputs,)
    if isinstance(inputs, list):
        arguments = (inputs[0],)
    keywords = inputs if isinstance(inputs, Mapping) else {}
    try:
        outputs = _floating(functional_call(model, dict(state), arguments, dict(keywords)))
    except TypeError as error:
        given = f"the keys {', '.join(map(str, keywords))} by name" if keywords else "one input"
        raise PruningError(f"synflow: gives the model {given} of a batch: {error}") from error
    if not outputs:
        raise PruningError("synflow: the model returns no floating tensor to sum")
    return torch.stack([output.sum() for output in outputs]).sum()


def _floating(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        return _floating([value for key, value in output.items() if key != "loss"])
    if isinstance(output, Sequence) and not isinstance(output, str):
        return [tensor for value in output for tensor in _floating(value)]
    return []
