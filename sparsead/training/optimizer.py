"""Learning rates of single parameters, and the schedule of all."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import TrainingArguments

from sparsead.adapters.chosen import ChosenWeights
from sparsead.config.protocol import ProtocolSpec
from sparsead.errors import ConfigError

_LAYER = re.compile(r"\.(\d+)\.")
_EMBEDDING = re.compile(r"emb|relative", re.IGNORECASE)
"""The names of embeddings of tokens, types and positions, and of relative positions."""


def find_rates(protocol: ProtocolSpec, model: nn.Module, head: Collection[str]) -> dict[str, float]:
    """Return the highest learning rate of each parameter that trains, by its name.

    The head's is `protocol.head_learning_rate`. A parameter of a layer has the general rate,
    multiplied by `protocol.layer_decay` for each layer above it (Clark et al., 2020). A parameter
    below all layers has one factor more than those of the lowest layer, and one above all layers
    has none. The layers of an encoder and of its decoder stand side by side: those of the same
    number have the same rate.

    Args:
        protocol: the run's protocol.
        model: the model with its adapter.
        head: names of the head's parameters.

    Raises:
        ConfigError: an option has nothing to apply to.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    own = [name for name in names if name not in head]
    layers = {name: int(found[1]) for name in own if (found := _LAYER.search(name))}
    if protocol.layer_decay != 1 and not layers:
        raise ConfigError(
            f"protocol.layer_decay={protocol.layer_decay:g}: no parameter of a layer trains here"
        )
    rate_of_head = protocol.head_learning_rate
    if rate_of_head is not None and (len(own) == len(names) or not own):
        trains = "the head alone trains here: set protocol.learning_rate"
        raise ConfigError(
            f"protocol.head_learning_rate={rate_of_head:g}: "
            f"{'no head trains here' if own else trains}"
        )
    top = _find_top(protocol, layers)
    below = _find_below(own, layers)
    depths = {name: layers.get(name, -1 if name in below else top) for name in own}
    of_own = {
        name: protocol.learning_rate * protocol.layer_decay ** (top - depth)
        for name, depth in depths.items()
    }
    of_head = protocol.learning_rate if rate_of_head is None else rate_of_head
    return {name: of_own.get(name, of_head) for name in names}


def _find_top(protocol: ProtocolSpec, layers: Mapping[str, int]) -> int:
    """Return the number of the highest layer that trains; 0 without layers.

    Raises:
        ConfigError: rates decay from layer to layer, and an encoder and its decoder have highest
            layers of different numbers.
    """
    tops: dict[str, int] = {}
    for name, number in layers.items():
        stack = name[: name.index(f".{number}.")]
        tops[stack] = max(number, tops.get(stack, 0))
    if protocol.layer_decay != 1 and len(set(tops.values())) > 1:
        counted = " and ".join(f"{top + 1} of {stack}" for stack, top in tops.items())
        raise ConfigError(
            f"protocol.layer_decay={protocol.layer_decay:g}: {counted} train; it needs as many "
            "layers in each, use protocol.layer_decay=1"
        )
    return max(tops.values(), default=0)


def _find_below(names: Sequence[str], layers: Collection[str]) -> set[str]:
    """Return the parameters below all layers: those before the first, and all embeddings.

    A model defines its modules from its input to its output, but for embeddings: some architectures
    define these, or what normalises them, behind the layers.

    Args:
        names: parameters, in the model's order.
        layers: those among them that are parts of layers.
    """
    first = next((place for place, name in enumerate(names) if name in layers), len(names))
    return {*names[:first], *(name for name in names if _EMBEDDING.search(name))} - set(layers)


def find_decayed(model: nn.Module, names_of: Callable[[nn.Module], list[str]]) -> list[str]:
    """Return the names of the parameters with weight decay: no norms and no biases.

    The Trainer leaves out all that is below a LayerNorm; an adapter that is attached to one has
    weight decay like any other. Chosen biases, which no name tells from chosen weights, have none.

    Args:
        model: the model with its adapter.
        names_of: the Trainer's own rule for a module.
    """
    names = names_of(model)
    for place, module in model.named_modules():
        if type(module).__name__.endswith("Norm"):
            for child, attached in module.named_children():
                names += [f"{place}.{child}.{name}" for name in names_of(attached)]
    biases = {
        f"{name}.values"
        for name, module in model.named_modules()
        if isinstance(module, ChosenWeights) and module.kind == "bias"
    }
    return [name for name in names if name not in biases]


def set_rates(optimizer: Optimizer, model: nn.Module, rates: Mapping[str, float]) -> None:
    """Split the parameter groups of an optimiser, which has not been used yet, by their rates."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        by_rate: dict[float, list[Any]] = defaultdict(list)
        for parameter in group["params"]:
            by_rate[rates[names[id(parameter)]]].append(parameter)
        groups += [{**group, "params": found, "lr": rate} for rate, found in by_rate.items()]
    optimizer.param_groups[:] = groups


@contextmanager
def explained_schedule(arguments: TrainingArguments) -> Iterator[None]:
    """Name the options of the schedule where the block cannot create it.

    Raises:
        ConfigError: an option is missing, unknown or of a wrong type or value.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        name = getattr(arguments.lr_scheduler_type, "value", arguments.lr_scheduler_type)
        given = f"protocol.scheduler={name} protocol.scheduler_options"
        raise ConfigError(f"{given}={arguments.lr_scheduler_kwargs}: {error}") from error
