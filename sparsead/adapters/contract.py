"""What an adapter is, as types: a method that inserts trainable parameters into a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from sparsead.config.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from sparsead.adapters.adapted import AdaptedModel


class Adapter(Protocol):
    """A method of parameter-efficient training.

    The class is called with its options, which are the keys of the config group `adapter`. It
    refuses wrong values with a ConfigError.

    A module that the method adds becomes the submodule `adapter` of the backbone's module whose
    input or output it changes. The backbone's own parameters thus keep their names, and the
    method's parameters are called PLACE.adapter.NAME. They are initialised, scored, counted and
    stored under these names.
    """

    def insert(self, model: PreTrainedModel, seed: int, /) -> AdaptedModel:
        """Put the method into the model, in place, and freeze the rest of the backbone.

        Args:
            model: a backbone with a head; its modules are found by `site_modules`.
            seed: the seed of the initial weights (`seed_init`). The same seed gives the same
                parameters, whatever random numbers were drawn before (see `initialise`).

        Returns:
            The model, the names of the parameters that the method trains, and the names of those
            that may be pruned: matrices, never biases or LayerNorms. `freeze_backbone` builds it.
            A method whose `prunable` are weights of the backbone, of which the pruner chooses those
            that train, also says how many train without pruning, the `budget`.

        Raises:
            SiteError: the architecture has no place for the method.
            ConfigError: an option does not fit the model.
        """


@runtime_checkable
class Mergeable(Protocol):
    """A submodule `adapter` that is equivalent to a change of its layer's weight or bias.

    Such a layer can be exported merged, as a layer of the backbone without an adapter.
    """

    def merge_into(self, layer: Any) -> None:
        """Change the layer's weight as the module does, and remove its hooks from the layer."""


@runtime_checkable
class CountsFlops(Protocol):
    """A submodule `adapter` that does not use each of its matrices in one product per token."""

    flops: Mapping[str, int]
    """Multiplications and additions per token and weight, by the matrix's name; others have 2."""


@runtime_checkable
class Regularised(Protocol):
    """A submodule that adds a term of its own to the loss of a model in training."""

    def regulariser(self) -> Tensor:
        """Return the term, a scalar."""


def sum_regularisers(model: nn.Module) -> Tensor | float:
    """Return the sum of the terms of a model's `Regularised` modules; 0 without any."""
    terms = [module.regulariser() for module in model.modules() if isinstance(module, Regularised)]
    return sum(terms, 0.0)


ADAPTERS: Registry[Adapter] = Registry("adapter", "sparsead.adapters", Adapter)
