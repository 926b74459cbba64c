"""A backbone with an adapter in it: which of its parameters train, and which can be pruned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from sparsead.backbones.heads import pretrained_parameters

_POOLER = ".pooler."


@dataclass(frozen=True)
class AdaptedModel:
    """A model whose trainable parameters are the adapter's and the head's, and no others.

    `adapter` and `head` name parameters of `model`; `prunable` is the part of `adapter` that a
    pruner may remove weights from (matrices: never biases, LayerNorms or the head). `frozen` names
    parameters that earlier runs trained: they are stored with the adapter, but do not train. The
    head trains unless an option of the adapter freezes it; a frozen head is stored too, because it
    was drawn for this run.

    With a `budget`, `prunable` are weights of the backbone itself, and a pruner chooses which of
    them train instead of which are removed: `budget` of them at a sparsity of 0. All others keep
    their pretrained values. `sparsead.adapters.chosen` then makes the model that trains. `buffers`
    names its tensors that say which weights were chosen; they are stored too.

    `counts_flops` is False if a library computes with the adapter in a way that is not known here.
    """

    model: PreTrainedModel
    adapter: tuple[str, ...]
    head: tuple[str, ...]
    prunable: tuple[str, ...]
    frozen: tuple[str, ...] = ()
    budget: int | None = None
    buffers: tuple[str, ...] = ()
    counts_flops: bool = True

    @property
    def stored(self) -> tuple[str, ...]:
        """Names of the parameters to store: those in which this model differs from the backbone."""
        return (*self.frozen, *self.adapter, *self.buffers, *self.head)

    @property
    def head_trains(self) -> bool:
        """Whether the head trains with the adapter."""
        return any(self.model.get_parameter(name).requires_grad for name in self.head)

    def trained_state(self) -> dict[str, Tensor]:
        """Return the tensors of the adapter, frozen parts included, and of the head, by name.

        All are on the CPU, and numbers with a fraction in fp32, also those that the model keeps in
        bf16.
        """
        state = self.model.state_dict()
        return {name: _plain(state[name]) for name in self.stored}


def _plain(tensor: Tensor) -> Tensor:
    plain = tensor.detach().cpu()
    return plain.float() if plain.is_floating_point() else plain


def freeze_backbone(
    model: PreTrainedModel,
    adapter: Iterable[str],
    prunable: Iterable[str],
    frozen: Iterable[str] = (),
    *,
    train_head: bool = True,
) -> AdaptedModel:
    """Make the parameters named by `adapter`, and the head, the only ones that train.

    With `train_head=False` the head stays as it was drawn.

    The head is everything after the last layer that is new: all parameters outside the bare
    backbone, except those that give the next token, and the backbone's pooler. BERT's pooler has
    the role of the first layer in RoBERTa's head, which is newly initialised.
    """
    adapter = tuple(adapter)
    backbone = pretrained_parameters(model)
    head = tuple(
        name
        for name, parameter in model.named_parameters()
        if (id(parameter) not in backbone or _POOLER in name) and name not in adapter
    )
    trained = {*adapter, *(head if train_head else ())}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return AdaptedModel(model, adapter, head, tuple(prunable), tuple(frozen))
