"""A backbone with an adapter in it: which of its parameters train, and which can be pruned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

_POOLER = ".pooler."


@dataclass(frozen=True)
class AdaptedModel:
    """A model whose trainable parameters are the adapter's and the head's, and no others.

    `adapter` and `head` name parameters of `model`; `prunable` is the part of `adapter` that a
    pruner may remove weights from (matrices: never biases, LayerNorms or the head). `frozen` was
    trained before: it is stored with the adapter, but does not train.
    """

    model: PreTrainedModel
    adapter: tuple[str, ...]
    head: tuple[str, ...]
    prunable: tuple[str, ...]
    frozen: tuple[str, ...] = ()

    @property
    def stored(self) -> tuple[str, ...]:
        """Names of the parameters that make the backbone this model."""
        return (*self.frozen, *self.adapter, *self.head)

    def trained_state(self) -> dict[str, Tensor]:
        """Return the adapter's and the head's tensors by name, on the CPU, the frozen ones too.

        All are in fp32, also those that a device keeps in what it computes in.
        """
        state = self.model.state_dict()
        return {name: state[name].detach().cpu().float() for name in self.stored}


def freeze_backbone(
    model: PreTrainedModel,
    adapter: Iterable[str],
    prunable: Iterable[str],
    frozen: Iterable[str] = (),
) -> AdaptedModel:
    """Make the parameters named by `adapter`, and the head, the only ones that train.

    The head is what stands behind the last layer: every parameter outside the bare backbone, and
    the pooler in it, which does in BERT what the first layer of RoBERTa's new head does.
    """
    adapter = tuple(adapter)
    backbone = {id(parameter) for parameter in model.base_model.parameters()}
    head = tuple(
        name
        for name, parameter in model.named_parameters()
        if (id(parameter) not in backbone or _POOLER in name) and name not in adapter
    )
    trained = {*adapter, *head}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return AdaptedModel(model, adapter, head, tuple(prunable), tuple(frozen))
