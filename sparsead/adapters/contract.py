"""What an adapter is, as types: a method that puts parameters to train into a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sparsead.config.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

    from sparsead.adapters.adapted import AdaptedModel


class Adapter(Protocol):
    """A method of parameter-efficient training.

    The class is called with the keys of the group `adapter` in the configuration, its options; it
    refuses wrong ones with a ConfigError.

    A module that the method adds is the submodule `adapter` of the backbone's module whose output
    or input it changes. So the backbone's own parameters keep their names, and those of the method
    are called PLACE.adapter.NAME: by these names they are initialised, scored, counted and stored.
    """

    def insert(self, model: PreTrainedModel, seed: int, /) -> AdaptedModel:
        """Put the method into the model, in place, and freeze the rest of the backbone.

        Args:
            model: a backbone with a head; its modules are found by `site_modules`.
            seed: the run's. The same seed gives the same parameters, whatever was drawn before
                (see `initialise`).

        Returns:
            The model with the names of the parameters that the method trains, and of those among
            them that may be pruned: matrices, never biases or LayerNorms. `adapted` makes it.

        Raises:
            SiteError: the architecture has no place for the method.
            ConfigError: an option does not go with the model.
        """


@runtime_checkable
class Mergeable(Protocol):
    """A module `adapter` that is a change of the weight of the linear layer that it is in.

    Such a layer can be exported merged: as the backbone's own, without the adapter.
    """

    hook: RemovableHandle
    """That of the layer, which adds the module's output to the layer's."""

    def weight_change(self) -> Tensor:
        """Return what is to be added to the layer's weight, of its shape (out, in)."""


@runtime_checkable
class UsesRepeatedly(Protocol):
    """A module `adapter` with matrices that each token is multiplied by more than once."""

    uses: Mapping[str, int]
    """Number of times, by the matrix's name in the module; of others it is once."""


ADAPTERS: Registry[Adapter] = Registry("adapter", "sparsead.adapters", Adapter)
