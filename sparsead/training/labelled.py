"""Compute the logits of a decoder's next token only where the loss counts them.

A vocabulary has up to hundreds of thousands of tokens, so that the logits of a prompt, which
nothing reads in training, would take more memory than all else.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from sparsead.backbones.heads import gives_next_token
from sparsead.pruning.examples import IGNORED_LABEL


def skip_unlabelled(model: PreTrainedModel) -> None:
    """Compute the logits only of tokens before a labelled one, in passes that have labels.

    The loss is the same; the output's logits have the shape (1, labelled tokens, vocabulary). It is
    called after `unpad`, whose hooks restore the shape in which the labels are. Models with another
    head do not change.
    """
    if gives_next_token(type(model)):
        _LabelledTokens().attach(model)


class _LabelledTokens:
    """Hooks that reduce the last layer's states, before the head, to those that have a label."""

    counted: Tensor | None = None

    def attach(self, model: PreTrainedModel) -> None:
        """Register the hooks."""
        model.register_forward_pre_hook(self._enter, with_kwargs=True)
        model.base_model.register_forward_hook(self._select)

    def _enter(self, _model: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        labels: Tensor | None = options.get("labels")
        self.counted = None if labels is None else labels[:, 1:] != IGNORED_LABEL
        if labels is None:
            return inputs, options
        return inputs, options | {"shift_labels": labels[:, 1:][self.counted][None]}

    def _select(self, _backbone: Any, _inputs: Any, output: Any) -> Any:
        if self.counted is not None:
            output.last_hidden_state = output.last_hidden_state[:, :-1][self.counted][None]
        return output
